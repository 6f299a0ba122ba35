"""Run the steps of ``nnUNetv2_crln_plan_and_preprocess``: nnU-Net's own, extended to the unlabelled images."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints, plan_experiments, preprocess
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_crln.errors import UserError, listing
from nnunetv2_crln.layout import PLANS_BLOCK
from nnunetv2_crln.plan_and_preprocess import article
from nnunetv2_crln.plan_and_preprocess.configurations import available_configurations, refuse_unknown_configurations
from nnunetv2_crln.plan_and_preprocess.crln_blocks import check_block, keep_own_entries
from nnunetv2_crln.plan_and_preprocess.fingerprint import (
    UnreadableCasesError,
    add_unlabelled_to_fingerprint,
    labelled_cases_are_known,
    labelled_fingerprint_is_stale,
    labelled_record,
    note_labelled_cases,
)
from nnunetv2_crln.plan_and_preprocess.nnunet_steps import explaining_nnunet_errors, refuse_no_process, verify
from nnunetv2_crln.plan_and_preprocess.options import Options
from nnunetv2_crln.plan_and_preprocess.replaced_plans import keep_replaced_plans
from nnunetv2_crln.plan_and_preprocess.small_plans import small_plans_are_outdated, write_small_plans
from nnunetv2_crln.plan_and_preprocess.summary import print_summary
from nnunetv2_crln.plan_and_preprocess.unlabelled_cases import preprocess_unlabelled
from nnunetv2_crln.plan_and_preprocess.written_cases import check_written_labelled
from nnunetv2_crln.preprocessed_dataset.commands import labelled_folder
from nnunetv2_crln.preprocessed_dataset.data_locks import LabelledDataLocks, existing_data
from nnunetv2_crln.preprocessed_dataset.dataset_json_copy import update_dataset_json_copy
from nnunetv2_crln.preprocessed_dataset.labelled_record import record_plans
from nnunetv2_crln.preprocessed_dataset.labelled_status import labelled_of_other_plans, unprocessed_labelled
from nnunetv2_crln.preprocessed_dataset.outdated import mark_outdated, unmark
from nnunetv2_crln.preprocessed_dataset.plans import check_plans, one_configuration_per_data, read_checked_plans
from nnunetv2_crln.raw_dataset.cases import find_unlabelled_cases
from nnunetv2_crln.raw_dataset.check_labels import verify_labels
from nnunetv2_crln.raw_dataset.check_names import check_dataset
from nnunetv2_crln.raw_dataset.folders import DatasetFolders, find_dataset
from nnunetv2_crln.utilities.print_warnings import print_warnings

ADD_ALONE = "--unlabelled_only adds unlabelled cases without touching the labelled ones."


def plan_and_preprocess(options: Options) -> None:
    """Check, plan and preprocess all datasets.

    Raises:
        UserError: Input is wrong, or cases could not be preprocessed (reported after all others are done).
    """
    if not options.unlabelled_only:
        refuse_no_process()
    datasets = {dataset_id: find_dataset(dataset_id) for dataset_id in options.datasets}
    for folders in datasets.values():
        print_warnings(check_dataset(folders.raw))
    if options.verify:
        for folders in datasets.values():
            verify(folders, options)
    if not options.unlabelled_only:
        refuse_unknown_configurations(list(datasets.values()), options)
    protocols = {
        dataset_id: article.protocol_for(folders.raw, options.article, options.num_labelled)
        for dataset_id, folders in datasets.items()
        if options.article
    }
    shortcomings = Shortcomings()
    for dataset_id, folders in datasets.items():
        _one_dataset(folders, protocols.get(dataset_id), options, shortcomings)
    shortcomings.report()


@dataclass
class Shortcomings:
    """Collect what did not succeed, for one message when everything else is done.

    Attributes:
        failed: A text for each case that could not be preprocessed.
        left_out: A text for each configuration whose labelled cases trainings would leave out or refuse.
    """

    failed: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def report(self) -> None:
        """Name all of them in one error.

        Raises:
            UserError: There are some.
        """
        texts = list(self.left_out)
        if self.failed:
            texts.append(
                f"{len(self.failed)} case(s) could not be preprocessed: {listing(self.failed)}. Do what the "
                "texts say, or replace files that cannot be read, and run the command again; all other unlabelled "
                "cases are kept."
            )
        if texts:
            raise UserError("\n".join(texts))


def _one_dataset(
    folders: DatasetFolders, protocol: article.Protocol | None, options: Options, shortcomings: Shortcomings
) -> None:
    """Do all steps after the checks."""
    with LabelledDataLocks(ADD_ALONE) as locks:
        plans_manager = _plans_with_labelled_cases(folders, protocol, options, locks)
    configurations = available_configurations(plans_manager, options.processes_by_configuration())
    if options.preprocessing:
        if options.part_id == 0:
            shortcomings.left_out += unprocessed_labelled(folders, plans_manager, configurations)
            if options.unlabelled_only:
                shortcomings.left_out += labelled_of_other_plans(folders, plans_manager, configurations)
            shortcomings.failed += check_written_labelled(folders, plans_manager, configurations, options.show_progress)
        shortcomings.failed += preprocess_all_unlabelled(folders, plans_manager, configurations, options)
    print_summary(folders, plans_manager, list(configurations), options)


def _plans_with_labelled_cases(
    folders: DatasetFolders,
    protocol: article.Protocol | None,
    options: Options,
    locks: LabelledDataLocks,
) -> PlansManager:
    """Make the plans and preprocess the labelled cases for them, unless only unlabelled cases are wanted."""
    requested = options.processes_by_configuration()
    plans_name = options.expected_plans_name()
    if options.unlabelled_only:
        plans_manager = read_plans(folders, plans_name, list(requested))
        update_dataset_json_copy(folders)
        return plans_manager
    # Before the plans are replaced: a refused command must leave those that fit the data.
    existing = existing_data(folders.preprocessed, plans_name, requested) if options.preprocessing else []
    for data in existing:
        locks.acquire(data)
    extract_fingerprint(folders, options)
    mark_outdated(existing)
    former = _content(folders, plans_name)
    try:
        plans_name = make_plans(folders, options)
    except Exception:
        if _content(folders, plans_name) == former:
            unmark(existing)
        raise
    if protocol is not None:
        add_article_configuration(folders, plans_name, protocol)
    plans_manager = read_plans(folders, plans_name, list(requested))
    configurations = available_configurations(plans_manager, requested)
    if options.preprocessing:
        preprocess_labelled(folders, plans_manager, configurations, options, locks)
        unmark(existing)  # what other plans alone use is not replaced
    return plans_manager


def _content(folders: DatasetFolders, plans_name: str) -> bytes:
    """Return the content of a plans file; empty without one."""
    path = folders.preprocessed / f"{plans_name}.json"
    return path.read_bytes() if path.is_file() else b""


def extract_fingerprint(folders: DatasetFolders, options: Options) -> None:
    """Extract the fingerprint of the labelled cases and add the shapes and spacings of the unlabelled ones.

    Args:
        folders: Folders of the dataset.
        options: Options of the command.

    Raises:
        UserError: nnU-Net's step failed, or unlabelled cases cannot be read: all of them, or some of them if no
            preprocessing follows, which names them at its end.
    """
    # nnU-Net plans with invalid label values, or fails with an error of NumPy. Labels are checked again only if the
    # labelled cases changed.
    if not options.verify and not labelled_cases_are_known(folders.raw, folders.preprocessed):
        processes, show = options.fingerprint_processes, options.show_progress
        print_warnings(verify_labels(folders.raw, processes, show, strict=False))
    print("Fingerprint extraction ...")
    stale = labelled_fingerprint_is_stale(folders.raw, folders.preprocessed)
    if stale and not options.clean:
        print("The labelled cases changed since the last run: extracting their fingerprint again.")
    record = labelled_record(folders.raw)
    with explaining_nnunet_errors("fingerprint extraction", folders, options):
        extract_fingerprints(
            [folders.number],
            options.fingerprint_extractor,
            options.fingerprint_processes,
            False,
            options.clean or stale,
            options.verbose,
            show_progress_bar=options.show_progress,
        )
    note_labelled_cases(folders.raw, folders.preprocessed, record)
    try:
        add_unlabelled_to_fingerprint(
            folders.raw, folders.preprocessed, options.fingerprint_processes, options.show_progress
        )
    except UnreadableCasesError as error:
        if error.none_left or not options.preprocessing:
            raise
        # Preprocessing names them again at its end; until then all others go on.
        print_warnings([str(error)])


def make_plans(folders: DatasetFolders, options: Options) -> str:
    """Make the plans from the fingerprint; what the user has added to former ones is kept.

    Args:
        folders: Folders of the dataset.
        options: Options of the command.

    Returns:
        Name of the plans.
    """
    print("Experiment planning ...")
    with (
        keep_replaced_plans(folders.preprocessed) as warnings,
        keep_own_entries(folders.preprocessed) as kept,
        explaining_nnunet_errors("planning", folders, options),
    ):
        plans_name = plan_experiments(
            [folders.number],
            options.planner,
            options.gpu_memory_target,
            options.preprocessor,
            options.target_spacing,
            options.plans_name,
        )
        if options.small or small_plans_are_outdated(folders.preprocessed / f"{plans_name}.json"):
            write_small_plans(folders.preprocessed / f"{plans_name}.json")
    print_warnings(warnings)
    if kept:
        print(f"Kept your {', '.join(kept)}.")
    return plans_name


def read_plans(folders: DatasetFolders, plans_name: str, configurations: list[str]) -> PlansManager:
    """Read and check the plans of a dataset.

    Args:
        folders: Folders of the dataset.
        plans_name: Name of the plans.
        configurations: Configurations to check, if the plans have them.

    Returns:
        The plans.

    Raises:
        UserError: The plans do not exist yet, or the file is damaged.
    """
    path = folders.preprocessed / f"{plans_name}.json"
    if not path.is_file():
        raise UserError(
            f"{path} does not exist: --unlabelled_only needs finished plans. Run the command without it first, "
            "or name other plans with -overwrite_plans_name."
        )
    plans = read_checked_plans(path)
    for name in set(configurations) & set(plans["configurations"]):
        check_plans(plans, path, name)
        check_block(PlansManager(plans).get_configuration(name).configuration.get(PLANS_BLOCK, {}), f"{path}, {name}")
    return PlansManager(plans)


def add_article_configuration(folders: DatasetFolders, plans_name: str, protocol: article.Protocol) -> None:
    """Write the paper's configuration into the plans, or print the differences to an existing one.

    Args:
        folders: Folders of the dataset.
        plans_name: Name of the plans.
        protocol: Row of the paper's experiments.
    """
    changed = article.write_article_configuration(folders.preprocessed / f"{plans_name}.json", protocol)
    name = f"{protocol.dataset} with {protocol.labelled} labelled cases"
    if changed:
        print(
            f"Kept the {article.CONFIGURATION} of {plans_name}.json, which differs from the paper's {name} in "
            f"{listing(changed)}. Delete it there to have it written again."
        )
    else:
        print(f"{article.CONFIGURATION} in {plans_name}.json is the paper's protocol for {name}.")


def preprocess_labelled(
    folders: DatasetFolders,
    plans_manager: PlansManager,
    configurations: dict[str, int],
    options: Options,
    locks: LabelledDataLocks,
) -> None:
    """Run nnU-Net's preprocessing under a lock, because it deletes existing data that a training may be reading.

    Args:
        folders: Folders of the dataset.
        plans_manager: nnU-Net's plans.
        configurations: Number of processes by configuration.
        options: Options of the command.
        locks: Locks of this command on labelled data.

    Raises:
        UserError: A training is running, or another command is preprocessing the same data.
    """
    print("Preprocessing of the labelled cases ...")
    names = list(one_configuration_per_data(plans_manager, configurations))
    processes = [configurations[name] for name in names]
    for name in names:
        locks.acquire(labelled_folder(folders.preprocessed, plans_manager, name))
    with explaining_nnunet_errors("preprocessing", folders, options):
        preprocess([folders.number], plans_manager.plans_name, names, processes, options.verbose, options.show_progress)
    for name in names:
        record_plans(labelled_folder(folders.preprocessed, plans_manager, name), plans_manager, name)


def preprocess_all_unlabelled(
    folders: DatasetFolders, plans_manager: PlansManager, configurations: dict[str, int], options: Options
) -> list[str]:
    """Preprocess imagesUl for every configuration.

    Args:
        folders: Folders of the dataset.
        plans_manager: nnU-Net's plans.
        configurations: Number of processes by configuration.
        options: Options of the command.

    Returns:
        Text for each case that failed.
    """
    failed: list[str] = []
    cases = find_unlabelled_cases(folders.raw)
    for configuration, others in one_configuration_per_data(plans_manager, configurations).items():
        result = preprocess_unlabelled(
            folders.raw,
            folders.preprocessed,
            plans_manager,
            configuration,
            configurations[configuration],
            num_parts=options.num_parts,
            part_id=options.part_id,
            clean=options.clean,
            show_progress=options.show_progress,
            verbose=options.verbose,
        )
        print(result.describe(configuration))
        for other in others:
            print(f"{other} uses the data of {configuration}.")
        print_warnings([f"{Path(cases[case][0]).name} ({configuration}): {odd}" for case, odd in result.odd.items()])
        for case, error in sorted(result.failed.items()):
            text = f"{Path(cases[case][0]).name} ({configuration}): {error}"
            print(f"Failed: {text}", file=sys.stderr)
            failed.append(text)
    return failed

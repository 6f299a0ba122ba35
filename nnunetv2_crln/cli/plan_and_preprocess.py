"""``nnUNetv2_crln_plan_and_preprocess``: nnU-Net's command of that name, plus the unlabelled images of imagesUl."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterable
from pathlib import Path

from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints, plan_experiments, preprocess
from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_crln import article
from nnunetv2_crln.cli.run import run
from nnunetv2_crln.errors import UserError
from nnunetv2_crln.locking import FolderLock
from nnunetv2_crln.unlabelled.atomic import read_json
from nnunetv2_crln.unlabelled.cases import find_labelled_cases, find_unlabelled_cases
from nnunetv2_crln.unlabelled.fingerprint import add_unlabelled_to_fingerprint, labelled_fingerprint_is_stale
from nnunetv2_crln.unlabelled.folders import DatasetFolders, find_dataset
from nnunetv2_crln.unlabelled.integrity import check_dataset, listing, verify_images
from nnunetv2_crln.unlabelled.labelled_labels import verify_labels
from nnunetv2_crln.unlabelled.paths import data_lock_file
from nnunetv2_crln.unlabelled.planning import (
    check_block,
    check_plans,
    describe_configuration,
    find_nnunet_class,
    keep_crln_blocks,
    planner_default,
)
from nnunetv2_crln.unlabelled.preprocessing import preprocess_unlabelled

DEFAULT_PROCESSES = {"2d": 8, "3d_fullres": 4, "3d_lowres": 8}  # nnU-Net's; 4 for all others

FOLDS = 5  # of nnU-Net's own split


def build_parser() -> argparse.ArgumentParser:
    """All flags of nnUNetv2_plan_and_preprocess with its defaults, and ours."""
    parser = argparse.ArgumentParser(
        prog="nnUNetv2_crln_plan_and_preprocess",
        description="Fingerprint, planning and preprocessing as nnUNetv2_plan_and_preprocess does them, with the "
        "unlabelled images in imagesUl taking part. Run the command again to continue after an interruption.",
    )
    parser.add_argument("-d", nargs="+", type=int, required=True, help="Numbers of the datasets, e.g. 2 4 5.")
    parser.add_argument(
        "-c",
        nargs="+",
        default=["2d", "3d_fullres", "3d_lowres"],
        help="Configurations to preprocess. Those that a dataset lacks are skipped. Default: %(default)s.",
    )
    parser.add_argument(
        "--verify_dataset_integrity",
        action="store_true",
        help="Open every image first and check it, and look for images that lie in more than one folder. "
        "Recommended once for each dataset.",
    )
    parser.add_argument(
        "--clean",
        action="store_true",
        help="Extract an existing fingerprint again and redo unlabelled cases that are already preprocessed.",
    )
    parser.add_argument("--no_pp", action="store_true", help="Only fingerprint and planning, no preprocessing.")

    planning = parser.add_argument_group("planning (as in nnU-Net)")
    planning.add_argument(
        "-fpe", default="DatasetFingerprintExtractor", help="Fingerprint extractor. Default: %(default)s."
    )
    planning.add_argument(
        "-pl", default="ExperimentPlanner", help="Planner, e.g. nnUNetPlannerResEncM. Default: %(default)s."
    )
    planning.add_argument("-gpu_memory_target", type=float, help="GPU memory in GB. Default: the planner's.")
    planning.add_argument(
        "-preprocessor_name", default="DefaultPreprocessor", help="Preprocessor class. Default: %(default)s."
    )
    planning.add_argument(
        "-overwrite_target_spacing", nargs="+", help="Three numbers in mm, for 3d_fullres and 3d_cascade_fullres."
    )
    planning.add_argument("-overwrite_plans_name", help="Name of the plans, instead of the planner's default.")

    planning.add_argument(
        "--article",
        choices=article.DATASETS,
        help=f"Add the configuration {article.CONFIGURATION} with the article's patch, batch, network and settings for "
        "this dataset, and preprocess it too.",
    )
    planning.add_argument(
        "--num_labelled",
        type=int,
        metavar="N",
        help="Which of the article's protocols for it, by labelled cases. Default: as many as the dataset has.",
    )

    running = parser.add_argument_group("running")
    running.add_argument(
        "-npfp", type=int, default=8, help="Processes for checks and fingerprint. Default: %(default)s."
    )
    running.add_argument(
        "-np",
        type=int,
        nargs="+",
        help="Processes for preprocessing: one number, or one for each configuration. "
        "Default: 8 for 2d, 4 for 3d_fullres, 8 for 3d_lowres, 4 for others. Fewer need less RAM.",
    )
    running.add_argument("--verbose", action="store_true", help="Print more.")
    running.add_argument("--no_pbar", action="store_true", help="No progress bars, for logs on a cluster.")

    unlabelled = parser.add_argument_group("unlabelled images")
    unlabelled.add_argument(
        "--unlabelled_only",
        action="store_true",
        help="Skip all of nnU-Net's own steps: only preprocess imagesUl with the existing plans.",
    )
    unlabelled.add_argument(
        "--num_parts",
        type=int,
        default=1,
        help="Split imagesUl into so many parts, one for each machine. Default: %(default)s.",
    )
    unlabelled.add_argument(
        "--part_id",
        type=int,
        default=0,
        help="Which part to do here, from 0. Run part 0 first: it makes the plans. The others need --unlabelled_only.",
    )
    return parser


def check_arguments(args: argparse.Namespace) -> None:
    """Refuse what nnU-Net would refuse late or not at all.

    Raises:
        UserError: Names the flag.
    """
    if args.num_parts < 1 or not 0 <= args.part_id < args.num_parts:
        raise UserError(
            f"--num_parts {args.num_parts} --part_id {args.part_id}: expected 0 <= part_id < num_parts. "
            "Parts are counted from 0."
        )
    if args.part_id > 0 and not args.unlabelled_only:
        raise UserError(
            f"--part_id {args.part_id} needs --unlabelled_only: nnU-Net's own steps run once, with part 0, "
            "and two runs at a time would delete each other's files."
        )
    if args.unlabelled_only and args.no_pp:
        raise UserError("--unlabelled_only and --no_pp together leave nothing to do. Drop one of them.")
    if args.np is not None and len(args.np) not in (1, len(args.c)):
        raise UserError(
            f"-np has {len(args.np)} numbers, -c has {len(args.c)} configurations: give one number, or one for each."
        )
    if args.num_labelled is not None and args.article is None:
        raise UserError("--num_labelled chooses one of the article's protocols: give --article DATASET too.")
    if args.num_labelled is not None:
        article.find_protocol(args.article, args.num_labelled)
    if min([args.npfp, *(args.np or [])]) < 1:
        raise UserError("-np and -npfp count processes: give numbers above 0.")
    if args.overwrite_target_spacing is not None and not _is_spacing(args.overwrite_target_spacing):
        raise UserError(
            f"-overwrite_target_spacing {' '.join(args.overwrite_target_spacing)}: expected three numbers above 0 (mm)."
        )
    find_nnunet_class("experiment_planning", args.fpe, "-fpe")
    find_nnunet_class("experiment_planning", args.pl, "-pl")
    find_nnunet_class("preprocessing", args.preprocessor_name, "-preprocessor_name")


def _is_spacing(values: list[str]) -> bool:
    try:
        return len(values) == 3 and all(float(value) > 0 for value in values)
    except ValueError:
        return False


def command(arguments: list[str] | None = None) -> None:
    """Parse the command line and do all steps.

    Args:
        arguments: Instead of those of this process.

    Raises:
        UserError: Bad input, or cases that could not be preprocessed (after all others were).
    """
    args = build_parser().parse_args(arguments)
    check_arguments(args)
    datasets = {dataset_id: find_dataset(dataset_id) for dataset_id in args.d}
    for folders in datasets.values():
        _print_warnings(check_dataset(folders.raw))
    if args.verify_dataset_integrity:
        for folders in datasets.values():
            verify(folders, args)
    protocols = {
        dataset_id: article.protocol_for(folders.raw, args.article, args.num_labelled)
        for dataset_id, folders in datasets.items()
        if args.article
    }
    if args.article and article.CONFIGURATION not in args.c:
        args.c = [*args.c, article.CONFIGURATION]
        args.np = [*args.np, args.np[-1]] if args.np and len(args.np) > 1 else args.np
    failed: list[str] = []
    for dataset_id, folders in datasets.items():
        plans_name = expected_plans_name(args) if args.unlabelled_only else plan(dataset_id, folders, args)
        if args.article and not args.unlabelled_only:
            add_article_configuration(folders, plans_name, protocols[dataset_id])
        plans_manager = read_plans(folders, plans_name, args.c)
        configurations = available_configurations(plans_manager, args)
        if not args.no_pp:
            if not args.unlabelled_only:
                preprocess_labelled(dataset_id, folders, plans_manager, configurations, args)
            failed += preprocess_all_unlabelled(folders, plans_manager, configurations, args)
        print_summary(dataset_id, folders, plans_manager, list(configurations), args)
    if failed:
        raise UserError(
            f"{len(failed)} unlabelled case(s) could not be preprocessed: {listing(failed)}. "
            "Replace or remove their images and run the command again; all others are kept."
        )


def verify(folders: DatasetFolders, args: argparse.Namespace) -> None:
    """Open every image and every label in labelsTr, with our checks and with nnU-Net's.

    Raises:
        UserError: With everything that was found.
    """
    _print_warnings(verify_images(folders.raw, args.npfp, not args.no_pbar))
    verify_labels(folders.raw, args.npfp, not args.no_pbar)
    try:
        verify_dataset_integrity(str(folders.raw), args.npfp)
    except (AssertionError, RuntimeError) as error:
        raise UserError(f"nnU-Net's check of the labelled cases of {folders.raw} failed: {error}") from error


def plan(dataset_id: int, folders: DatasetFolders, args: argparse.Namespace) -> str:
    """Fingerprint and planning.

    Returns:
        The name of the plans.
    """
    print("Fingerprint extraction ...")
    stale = labelled_fingerprint_is_stale(folders.raw, folders.preprocessed)
    if stale and not args.clean:
        print("The labelled cases changed since the last run: extracting their fingerprint again.")
    extract_fingerprints(
        [dataset_id], args.fpe, args.npfp, False, args.clean or stale, args.verbose, show_progress_bar=not args.no_pbar
    )
    add_unlabelled_to_fingerprint(folders.raw, folders.preprocessed, args.npfp, not args.no_pbar)
    print("Experiment planning ...")
    with keep_crln_blocks(folders.preprocessed) as kept:
        plans_name = plan_experiments(
            [dataset_id],
            args.pl,
            args.gpu_memory_target,
            args.preprocessor_name,
            args.overwrite_target_spacing,
            args.overwrite_plans_name,
        )
    if kept:
        print(f'Kept your "crln" block of {", ".join(kept)}.')
    return plans_name


def expected_plans_name(args: argparse.Namespace) -> str:
    """The name nnU-Net's planner gives its plans under these arguments."""
    planner = find_nnunet_class("experiment_planning", args.pl, "-pl")
    return args.overwrite_plans_name or planner_default(planner, "plans_name")


def read_plans(folders: DatasetFolders, plans_name: str, configurations: list[str]) -> PlansManager:
    """Plans of a dataset; those of ``configurations`` that they have are checked.

    Raises:
        UserError: They were not made yet, or the file is damaged.
    """
    path = folders.preprocessed / f"{plans_name}.json"
    if not path.is_file():
        raise UserError(
            f"{path} does not exist: --unlabelled_only needs finished plans. Run the command without it first, "
            "or name other plans with -overwrite_plans_name."
        )
    try:
        plans = read_json(path)
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON: {error}. Correct the file or make the plans again.") from error
    check_plans(plans, path)
    for name in set(configurations) & set(plans["configurations"]):
        check_plans(plans, path, name)
        check_block(PlansManager(plans).get_configuration(name).configuration.get("crln", {}), f"{path}, {name}")
    return PlansManager(plans)


def add_article_configuration(folders: DatasetFolders, plans_name: str, protocol: article.Protocol) -> None:
    """Write the article's configuration into the plans, or say what is different in the one that is there."""
    changed = article.write_article_configuration(folders.preprocessed / f"{plans_name}.json", protocol)
    name = f"{protocol.dataset} with {protocol.labelled} labelled cases"
    if changed:
        print(
            f"Kept the {article.CONFIGURATION} of {plans_name}.json, which differs from the article's {name} in "
            f"{listing(changed)}. Delete it there to have it written anew."
        )
    else:
        print(f"{article.CONFIGURATION} in {plans_name}.json is the article's protocol for {name}.")


def one_configuration_per_data(plans_manager: PlansManager, configurations: Iterable[str]) -> list[str]:
    """The configurations without those that train on the preprocessed data of an earlier one."""
    by_data: dict[str, str] = {}
    for name in configurations:
        by_data.setdefault(plans_manager.get_configuration(name).data_identifier, name)
    return list(by_data.values())


def available_configurations(plans_manager: PlansManager, args: argparse.Namespace) -> dict[str, int]:
    """The requested configurations that the plans have, with their numbers of processes.

    Raises:
        UserError: There is none.
    """
    if args.np is None:
        processes = [DEFAULT_PROCESSES.get(name, 4) for name in args.c]
    else:
        processes = args.np * len(args.c) if len(args.np) == 1 else args.np
    present = plans_manager.available_configurations
    skipped = [name for name in args.c if name not in present]
    if len(skipped) == len(args.c):
        raise UserError(
            f"{plans_manager.plans_name} of {plans_manager.dataset_name} have none of the configurations "
            f"{', '.join(skipped)} (-c). They have: {', '.join(present)}."
        )
    if skipped:
        print(f"Skipping {', '.join(skipped)}: not in the plans of {plans_manager.dataset_name}.")
    return {name: number for name, number in zip(args.c, processes) if name in present}


def preprocess_labelled(
    dataset_id: int,
    folders: DatasetFolders,
    plans_manager: PlansManager,
    configurations: dict[str, int],
    args: argparse.Namespace,
) -> None:
    """nnU-Net's preprocessing, which deletes what was there: not while a training reads it.

    Raises:
        UserError: A training is running, or another command is preprocessing the same data.
    """
    print("Preprocessing of the labelled cases ...")
    names = one_configuration_per_data(plans_manager, configurations)
    processes = [configurations[name] for name in names]
    with contextlib.ExitStack() as locks:
        for name in names:
            data = folders.preprocessed / plans_manager.get_configuration(name).data_identifier
            lock = locks.enter_context(FolderLock(data_lock_file(data)))
            lock.acquire(
                f"{data} is in use by a training, or is being preprocessed. Wait for its end. "
                "--unlabelled_only adds unlabelled cases without touching the labelled ones."
            )
        preprocess([dataset_id], plans_manager.plans_name, names, processes, args.verbose, not args.no_pbar)


def preprocess_all_unlabelled(
    folders: DatasetFolders, plans_manager: PlansManager, configurations: dict[str, int], args: argparse.Namespace
) -> list[str]:
    """Preprocess imagesUl for every configuration.

    Returns:
        Text for each case that failed.
    """
    failed: list[str] = []
    finished: dict[str, str] = {}
    cases = find_unlabelled_cases(folders.raw)
    for configuration, processes in configurations.items():
        identifier = plans_manager.get_configuration(configuration).data_identifier
        if identifier in finished:
            print(f"{configuration} uses the data of {finished[identifier]}.")
            continue
        finished[identifier] = configuration
        result = preprocess_unlabelled(
            folders.raw,
            folders.preprocessed,
            plans_manager,
            configuration,
            processes,
            args.num_parts,
            args.part_id,
            args.clean,
            not args.no_pbar,
            args.verbose,
        )
        if result.removed:
            print(f"Removed {len(result.removed)} case(s) whose images left imagesUl: {listing(result.removed)}.")
        print(f"{configuration}: {len(result.done)} unlabelled cases preprocessed, {len(result.kept)} already there.")
        for case, error in sorted(result.failed.items()):
            text = f"{Path(cases[case][0]).name} ({configuration}): {error}"
            print(f"Failed: {text}", file=sys.stderr)
            failed.append(text)
    return failed


def print_summary(
    dataset_id: int,
    folders: DatasetFolders,
    plans_manager: PlansManager,
    configurations: list[str],
    args: argparse.Namespace,
) -> None:
    """What there is now, what training will cost, and the command that comes next."""
    memory_target = None  # not noted in the plans: only known if they were made just now
    if not args.unlabelled_only:
        planner = find_nnunet_class("experiment_planning", args.pl, "-pl")
        memory_target = args.gpu_memory_target or planner_default(planner, "gpu_memory_target_in_gb")
    labelled, unlabelled = len(find_labelled_cases(folders.raw)), len(find_unlabelled_cases(folders.raw))
    print(f"\n{folders.name}: {labelled} labelled and {unlabelled} unlabelled cases")
    for configuration in configurations:
        print(describe_configuration(plans_manager, configuration, memory_target))
    if args.num_parts > 1:
        rest = [part for part in range(args.num_parts) if part != args.part_id]
        print(f"This was part {args.part_id} of {args.num_parts}; training needs parts {listing(map(str, rest))} too.")
    chosen = "3d_fullres" if "3d_fullres" in configurations else configurations[0]
    plans = "" if plans_manager.plans_name == "nnUNetPlans" else f" -p {plans_manager.plans_name}"
    fold = "0"
    if labelled < FOLDS and not (folders.preprocessed / "splits_final.json").is_file():
        print(f"{labelled} labelled cases are too few for nnU-Net's {FOLDS} folds: write your own splits_final.json to")
        print(f"{folders.preprocessed}, or train on all of them without validation cases (fold all).")
        fold = "all"
    if chosen != article.CONFIGURATION:
        print(f"Next: nnUNetv2_train {dataset_id} {chosen} {fold} -tr nnUNetTrainer_CRLN{plans}")
    if args.article:
        # The article trains on all labelled cases; BraTS has validation cases of its own.
        fold = "0" if (folders.preprocessed / "splits_final.json").is_file() else "all"
        print(f"Next: nnUNetv2_train {dataset_id} {article.CONFIGURATION} {fold} -tr {article.TRAINER}{plans}")
    print()


def _print_warnings(warnings: list[str]) -> None:
    for warning in warnings:
        print(f"Warning: {warning}", file=sys.stderr)


def main() -> None:
    """Entry point of the command."""
    run(command)


if __name__ == "__main__":
    main()

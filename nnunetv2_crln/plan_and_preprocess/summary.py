"""Print what planning has led to: cases, memory, and the commands to go on with."""

from __future__ import annotations

from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_crln.errors import UserError, listing
from nnunetv2_crln.layout import NUM_FOLDS, PLANS_BLOCK, SMALL_PLANS_SUFFIX, SPLITS_FILE
from nnunetv2_crln.plan_and_preprocess import article
from nnunetv2_crln.plan_and_preprocess.crln_blocks import check_block
from nnunetv2_crln.plan_and_preprocess.next_steps import next_trainings
from nnunetv2_crln.plan_and_preprocess.options import Options
from nnunetv2_crln.plan_and_preprocess.small_plans import TRAINER
from nnunetv2_crln.preprocessed_dataset.plans import is_second_stage
from nnunetv2_crln.preprocessed_dataset.splits import unused_cases
from nnunetv2_crln.raw_dataset.cases import find_labelled_cases, find_unlabelled_cases
from nnunetv2_crln.raw_dataset.folders import DatasetFolders
from nnunetv2_crln.settings import PATCHES_TO_MIX
from nnunetv2_crln.utilities.advice import command_line
from nnunetv2_crln.utilities.print_warnings import print_warnings


def print_summary(
    folders: DatasetFolders,
    plans_manager: PlansManager,
    configurations: list[str],
    options: Options,
) -> None:
    """Print the number of cases, the cost of a training, and the next command.

    Args:
        folders: Folders of the dataset.
        plans_manager: nnU-Net's plans.
        configurations: Names of the configurations.
        options: Options of the command.
    """
    # The plans do not record the target: it is known only if they were made just now.
    memory_target = None if options.unlabelled_only else options.memory_target()
    cases, unlabelled = find_labelled_cases(folders.raw), len(find_unlabelled_cases(folders.raw))
    labelled = len(cases)
    print(f"\n{folders.name}: {labelled} labelled and {unlabelled} unlabelled cases")
    print_warnings(_split_warnings(folders, list(cases)))
    for configuration in configurations:
        print(describe_configuration(plans_manager, configuration, memory_target))
    if options.num_parts > 1:
        rest = [part for part in range(options.num_parts) if part != options.part_id]
        print(
            f"This was part {options.part_id} of {options.num_parts}; "
            f"training needs parts {listing(map(str, rest))} too."
        )
    second_stages = [name for name in configurations if is_second_stage(plans_manager.plans, name)]
    configurations = [name for name in configurations if name not in second_stages]
    if not configurations:
        print(f"{', '.join(second_stages)}: CRLN does not train the second stage of a cascade; train 3d_fullres.\n")
        return
    chosen = "3d_fullres" if "3d_fullres" in configurations else configurations[0]
    plans = () if plans_manager.plans_name == "nnUNetPlans" else ("-p", plans_manager.plans_name)
    fold = "0"
    split = folders.preprocessed / SPLITS_FILE
    if labelled < NUM_FOLDS and not split.is_file():
        print(
            f"{labelled} labelled cases are too few for nnU-Net's {NUM_FOLDS} folds: write your own {split}, or train "
            "on all of them without validation cases (fold all)."
        )
        fold = "all"
    if chosen != article.CONFIGURATION:
        print(next_trainings(folders, chosen, plans_manager.plans_name, fold))
        if options.small:
            small = f"{plans_manager.plans_name}{SMALL_PLANS_SUFFIX}"
            print(f"On a CPU: nnUNetTrainer_short and {TRAINER} instead, with -p {small} -device cpu")
    if options.article:
        # The paper trains on all labelled cases; BraTS has validation cases of its own.
        fold = "0" if split.is_file() else "all"
        train = ("nnUNetv2_train", folders.number, article.CONFIGURATION, fold, "-tr")
        print("Next:", command_line(*train, article.TRAINER, *plans))
    print()


def _split_warnings(folders: DatasetFolders, cases: list[str]) -> list[str]:
    try:
        unused = unused_cases(folders.preprocessed, cases)
    except UserError as error:  # training refuses it; everything else is done
        return [str(error)]
    return [unused] if unused else []


def describe_configuration(plans_manager: PlansManager, configuration: str, memory_target: float | None) -> str:
    """Describe patch, batch and memory of one configuration.

    The student keeps the activations of labelled and unlabelled patches for the backward pass; plain nnU-Net keeps only
    those of labelled patches. The teacher keeps none. Memory therefore grows with the number of patches per step.

    Args:
        plans_manager: nnU-Net's plans.
        configuration: Name of a configuration in them.
        memory_target: GPU memory that the plans were made for, in GB; None if unknown.

    Returns:
        Text of three lines.
    """
    manager = plans_manager.get_configuration(configuration)
    settings = check_block(manager.configuration.get(PLANS_BLOCK, {}), f"Configuration {configuration}")
    labelled = manager.batch_size
    unlabelled = settings.unlabelled_batch_size or max(PATCHES_TO_MIX, labelled)
    ratio = (labelled + unlabelled) / labelled
    ways = []
    if unlabelled > 1:
        ways.append(f'set "crln": {{"unlabelled_batch_size": {unlabelled // 2}}} in this configuration of the plans')
    if memory_target:
        ways.append(f"plan with -gpu_memory_target {memory_target / 2:g}")
        memory = f"up to about {ratio * memory_target:g} GB, {ratio:.1f} times that"
    else:
        if not ways:
            ways.append("plan with a smaller -gpu_memory_target, which models trained before will not fit")
        memory = f"up to about {ratio:.1f} times that"
    return (
        f"{configuration}: patch {' × '.join(str(size) for size in manager.patch_size)}, "
        f"batch {labelled} labelled + {unlabelled} unlabelled\n"
        f"  GPU memory: {memory} of plain nnU-Net (calculated).\n"
        f"  If that is too much: {', or '.join(ways)}."
    )

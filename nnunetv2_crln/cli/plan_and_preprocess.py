"""``nnUNetv2_crln_plan_and_preprocess``: nnU-Net's command of that name, plus the unlabelled images of imagesUl."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nnunetv2_crln.plan_and_preprocess import article
from nnunetv2_crln.raw_dataset.dataset_argument import dataset_id
from nnunetv2_crln.utilities.argument_types import plain_name, positive_number, whole_number
from nnunetv2_crln.utilities.command_parser import CommandParser
from nnunetv2_crln.utilities.cores import one_per_core
from nnunetv2_crln.utilities.run_command import run

if TYPE_CHECKING:
    from nnunetv2_crln.plan_and_preprocess.options import Options


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    run(lambda: command(arguments))


def command(arguments: Sequence[str] | None = None) -> None:
    """Run the command and let errors pass."""
    options = read_options(arguments)
    # Imported after parsing: --help need not wait for nnU-Net.
    from nnunetv2_crln.plan_and_preprocess.pipeline import plan_and_preprocess

    plan_and_preprocess(options)


def build_parser() -> CommandParser:
    """Build the parser of the command, with all flags and defaults of nnUNetv2_plan_and_preprocess."""
    parser = CommandParser(
        "nnUNetv2_crln_plan_and_preprocess",
        "Extract the fingerprint, plan and preprocess as nnUNetv2_plan_and_preprocess does, with the unlabelled images "
        "in imagesUl taking part. Run the command again to continue after an interruption.",
        "nnUNetv2_crln_plan_and_preprocess -d 150 -c 3d_fullres --verify_dataset_integrity",
    )
    parser.add_argument(
        "-d", nargs="+", type=dataset_id, required=True, help="Numbers or names of the datasets, e.g. 2 4 5."
    )
    parser.add_argument(
        "-c",
        nargs="+",
        type=plain_name,
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

    _add_planning(parser)
    _add_running(parser)
    _add_unlabelled(parser)
    return parser


def _add_planning(parser: argparse.ArgumentParser) -> None:
    planning = parser.add_argument_group("planning (as in nnU-Net)")
    planning.add_argument(
        "-fpe",
        type=plain_name,
        default="DatasetFingerprintExtractor",
        help="Fingerprint extractor. Default: %(default)s.",
    )
    planning.add_argument(
        "-pl",
        type=plain_name,
        default="ExperimentPlanner",
        help="Planner, e.g. nnUNetPlannerResEncM. Default: %(default)s.",
    )
    planning.add_argument("-gpu_memory_target", type=positive_number, help="GPU memory in GB. Default: the planner's.")
    planning.add_argument(
        "-preprocessor_name",
        type=plain_name,
        default="DefaultPreprocessor",
        help="Preprocessor class. Default: %(default)s.",
    )
    planning.add_argument(
        "-overwrite_target_spacing", nargs="+", help="Three numbers in mm, for 3d_fullres and 3d_cascade_fullres."
    )
    planning.add_argument(
        "-overwrite_plans_name", type=plain_name, help="Name of the plans, instead of the planner's default."
    )
    planning.add_argument(
        "--small",
        action="store_true",
        help="Also write plans with a smaller patch and network for CPUs and laptops: nnUNetPlans_small, for the same "
        "preprocessed data. Train them with -p nnUNetPlans_small -tr nnUNetTrainer_CRLN_short.",
    )
    planning.add_argument(
        "--article",
        choices=article.DATASETS,
        help=f"Add the configuration {article.CONFIGURATION} with the paper's patch, batch, network and settings for "
        "this dataset, and preprocess it too.",
    )
    planning.add_argument(
        "--num_labelled",
        type=whole_number(),
        metavar="N",
        help="Which of the paper's protocols for it, by labelled cases. Default: as many as the dataset has.",
    )


def _add_running(parser: argparse.ArgumentParser) -> None:
    running = parser.add_argument_group("running")
    running.add_argument(
        "-npfp",
        type=whole_number(),
        default=one_per_core(8),
        help="Processes for checks and fingerprint. Default: 8, at most one per core.",
    )
    running.add_argument(
        "-np",
        type=whole_number(),
        nargs="+",
        help="Processes for preprocessing: one number, or one for each configuration. "
        "Default: 8 for 2d, 4 for 3d_fullres, 8 for 3d_lowres, 4 for others; at most one per core. "
        "Fewer need less RAM.",
    )
    running.add_argument("--verbose", action="store_true", help="Print more.")
    running.add_argument("--no_pbar", action="store_true", help="No progress bars, for logs on a cluster.")


def _add_unlabelled(parser: argparse.ArgumentParser) -> None:
    unlabelled = parser.add_argument_group("unlabelled images")
    unlabelled.add_argument(
        "--unlabelled_only",
        action="store_true",
        help="Skip all of nnU-Net's own steps: only preprocess imagesUl with the existing plans.",
    )
    unlabelled.add_argument(
        "--num_parts",
        type=whole_number(),
        default=1,
        help="Split imagesUl into this many parts, one for each machine. Default: %(default)s.",
    )
    unlabelled.add_argument(
        "--part_id",
        type=whole_number(0),
        default=0,
        help="Which part to do here, from 0. Run part 0 first: it makes the plans. The others need --unlabelled_only.",
    )


def read_options(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line.

    Args:
        arguments: Arguments to parse; None takes those of this process.

    Returns:
        Checked values.

    Raises:
        UserError: A value is not allowed.
    """
    options = build_parser().parse_args(arguments)
    # Imported after parsing: --help need not wait for nnU-Net.
    from nnunetv2_crln.plan_and_preprocess.options import Options

    return Options(
        datasets=tuple(options.d),
        configurations=tuple(options.c),
        verify=options.verify_dataset_integrity,
        clean=options.clean,
        preprocessing=not options.no_pp,
        fingerprint_extractor=options.fpe,
        planner=options.pl,
        gpu_memory_target=options.gpu_memory_target,
        preprocessor=options.preprocessor_name,
        target_spacing=None if options.overwrite_target_spacing is None else tuple(options.overwrite_target_spacing),
        plans_name=options.overwrite_plans_name,
        small=options.small,
        article=options.article,
        num_labelled=options.num_labelled,
        fingerprint_processes=options.npfp,
        processes=None if options.np is None else tuple(options.np),
        verbose=options.verbose,
        show_progress=not options.no_pbar,
        unlabelled_only=options.unlabelled_only,
        num_parts=options.num_parts,
        part_id=options.part_id,
    )


if __name__ == "__main__":
    main()

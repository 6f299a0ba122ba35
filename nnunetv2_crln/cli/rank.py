"""``nnUNetv2_crln_rank``: rank the unlabelled scans, those that the model understands least first."""

from collections.abc import Sequence
from pathlib import Path

from nnunetv2_crln.cli.model_flags import add_model_flags, model_choice
from nnunetv2_crln.utilities.command_parser import CommandParser
from nnunetv2_crln.utilities.run_command import run

SHOWN = 10


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    run(lambda: command(arguments))


def command(arguments: Sequence[str] | None = None) -> None:
    """Run the command and let errors pass."""
    options = build_parser().parse_args(arguments)
    # Imported after parsing: --help need not wait for nnU-Net.
    from nnunetv2_crln.annotation_loop.rank_unlabelled import RankingFiles, rank_unlabelled

    ranking = rank_unlabelled(model_choice(options), options.o, not options.no_pbar)
    for number, place in enumerate(ranking[:SHOWN], start=1):
        print(f"{number:3d}. {place.case}  uncertainty {place.uncertainty:.2f}, novelty {place.novelty:.2f}")
    print(f"{len(ranking)} cases: {options.o}\nWith thumbnails: {RankingFiles(options.o).page}")


def build_parser() -> CommandParser:
    """Build the parser of the command."""
    parser = CommandParser(
        "nnUNetv2_crln_rank",
        "Rank the unlabelled scans, those that the model understands least first: each is compared with scans whose "
        "structures have a similar size, and near-copies of a scan above are put back. Whole scans are predicted. "
        "Annotating the first ones taught no more than annotating random ones where it was measured (hippocampus and "
        "ACDC). Run the command again to continue after an interruption.",
        "nnUNetv2_crln_rank $nnUNet_results/Dataset150_Name/nnUNetTrainer_CRLN__nnUNetPlans__3d_fullres -o ranking.csv",
    )
    add_model_flags(parser)
    parser.add_argument("-o", type=Path, required=True, metavar="CSV", help="ranking to write; a page lies beside it")
    return parser


if __name__ == "__main__":
    main()

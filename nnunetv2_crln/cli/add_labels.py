"""``nnUNetv2_crln_add_labels``: make labelled cases out of unlabelled ones that have been annotated."""

from collections.abc import Sequence
from pathlib import Path

from nnunetv2_crln.errors import listing
from nnunetv2_crln.layout import CHECKPOINT_FINAL
from nnunetv2_crln.raw_dataset.dataset_argument import dataset_id
from nnunetv2_crln.utilities.advice import PREPROCESS, command_line
from nnunetv2_crln.utilities.command_parser import CommandParser
from nnunetv2_crln.utilities.run_command import run

EXAMPLE = """\
%(prog)s -d 150 /data/new_annotations
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    run(lambda: command(arguments))


def command(arguments: Sequence[str] | None = None) -> None:
    """Run the command and let errors pass."""
    options = build_parser().parse_args(arguments)
    # Imported after parsing: --help need not wait for nnU-Net.
    from nnunetv2_crln.annotation_loop.add_labels import add_labels

    added = add_labels(
        options.d, options.labels, options.cases, options.np, not options.no_pp, show_progress=not options.no_pbar
    )
    print(
        f"{len(added.cases)} case(s) are labelled now and belong to the training part of every fold: "
        f"{listing(added.cases, 10)}"
    )
    if not added.preprocessed:
        plan = f"Run: {command_line(PREPROCESS, '-d', options.d)}"
        way_out = "Run this command again without --no_pp." if options.no_pp else plan
        print(f"They are not preprocessed yet, so that no training learns from their labels. {way_out}")
        return
    print(
        "To go on from a trained model without planning again:\n"
        f"  nnUNetv2_train {options.d} CONFIGURATION FOLD -tr nnUNetTrainer_CRLN "
        f"-pretrained_weights OLD_MODEL/fold_X/{CHECKPOINT_FINAL}\n"
        "nnU-Net writes into the folder of the old model: rename that first to keep it."
    )


def build_parser() -> CommandParser:
    """Build the parser of the command."""
    parser = CommandParser(
        "nnUNetv2_crln_add_labels",
        "Move cases that have been annotated from imagesUl to imagesTr, with their labels. Plans and folds "
        "are kept: the new cases join the training part of every fold, and they alone are preprocessed. Labels are "
        "checked first; if one is wrong, nothing changes. Run it again to continue after an interruption.",
        EXAMPLE,
    )
    parser.add_argument("labels", type=Path, metavar="LABELS", help="folder with a label CASE.ext for each new case")
    parser.add_argument("-d", type=dataset_id, required=True, metavar="ID", help="number of the dataset")
    parser.add_argument("--cases", nargs="+", default=[], metavar="CASE", help="take these alone; default: all labels")
    parser.add_argument("--no_pp", action="store_true", help="do not preprocess the new cases")
    parser.add_argument("--no_pbar", action="store_true", help="show no progress bars")
    parser.add_processes()
    return parser


if __name__ == "__main__":
    main()

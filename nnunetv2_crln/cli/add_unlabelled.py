"""``nnUNetv2_crln_add_unlabelled``: put folders of scans into imagesUl of a dataset."""

from collections.abc import Sequence
from pathlib import Path

from nnunetv2_crln.raw_dataset.dataset_argument import dataset_id
from nnunetv2_crln.utilities.command_parser import CommandParser
from nnunetv2_crln.utilities.run_command import run

EXAMPLE = """\
%(prog)s -d 150 /data/scans
%(prog)s -d 150 /data/dicom --prefix site2_
%(prog)s -d 43 /data/brains --channels {case}/{case}_t1.nii.gz {case}/{case}_flair.nii.gz
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    run(lambda: command(arguments))


def command(arguments: Sequence[str] | None = None) -> None:
    """Run the command and let errors pass."""
    options = build_parser().parse_args(arguments)
    # Imported after parsing: --help need not wait for nnU-Net.
    from nnunetv2_crln.annotation_loop.add_unlabelled import AddOptions, add_unlabelled, refuse_unusable

    summary = add_unlabelled(
        AddOptions(
            dataset_id=options.d,
            folders=tuple(options.folders),
            patterns=tuple(options.channels),
            prefix=options.prefix,
            copy=options.copy,
            processes=options.np,
            preprocess=not options.no_pp,
            dry_run=options.dry_run,
            show_progress=not options.no_pbar,
        )
    )
    refuse_unusable(summary)


def build_parser() -> CommandParser:
    """Build the parser of the command."""
    parser = CommandParser(
        "nnUNetv2_crln_add_unlabelled",
        "Add scans to the unlabelled cases of a dataset: NIfTI, NRRD, MHA and other image files, and DICOM "
        "series (a folder each). Each scan is checked; images that the dataset has already, under whatever name, are "
        "left out, and nothing is overwritten. Plans stay as they are. New scans are preprocessed where unlabelled "
        "cases were preprocessed before; where only labelled cases are, the command for it is printed. Run it again to "
        "continue after an interruption.",
        EXAMPLE,
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="searched with all folders in it")
    parser.add_argument("-d", type=dataset_id, required=True, metavar="ID", help="number of the dataset")
    parser.add_argument(
        "--channels",
        nargs="+",
        default=[],
        metavar="PATTERN",
        help="file name of each channel, in the order of dataset.json, with {case} for the name of the case; a pattern "
        "with / is a path below FOLDER. Default: CASE_0000, CASE_0001 and so on; any name if there is one channel",
    )
    parser.add_argument("--prefix", default="", metavar="TEXT", help="put before the name of every case")
    parser.add_argument("--copy", action="store_true", help="copy the files instead of making symbolic links")
    parser.add_argument("--no_pp", action="store_true", help="do not preprocess the new cases")
    parser.add_argument("--dry_run", action="store_true", help="only say what would be added")
    parser.add_argument("--no_pbar", action="store_true", help="show no progress bars")
    parser.add_processes()
    return parser


if __name__ == "__main__":
    main()

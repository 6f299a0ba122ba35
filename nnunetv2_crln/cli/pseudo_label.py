"""``nnUNetv2_crln_pseudo_label``: write a stock dataset with the model's labels for confident scans."""

from collections.abc import Sequence

from nnunetv2_crln.cli.model_flags import add_model_flags, model_choice
from nnunetv2_crln.errors import listing
from nnunetv2_crln.raw_dataset.dataset_argument import dataset_id
from nnunetv2_crln.utilities.argument_types import plain_name, probability, share
from nnunetv2_crln.utilities.command_parser import CommandParser
from nnunetv2_crln.utilities.run_command import run


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    run(lambda: command(arguments))


def command(arguments: Sequence[str] | None = None) -> None:
    """Run the command and let errors pass."""
    options = build_parser().parse_args(arguments)
    # Imported after parsing: --help need not wait for nnU-Net.
    from nnunetv2_crln.annotation_loop.write_pseudo_labels import Gate, write_pseudo_labels
    from nnunetv2_crln.layout import PSEUDO_LABELS_FILE

    gate = Gate(options.keep, options.confidence)
    written = write_pseudo_labels(model_choice(options), options.d, gate, options.name, not options.no_pbar)
    print(
        f"Written: {written.folder}\n"
        f"{len(written.accepted)} unlabelled case(s) with a pseudo label: {listing(written.accepted)}\n"
        f"{len(written.rejected)} rejected: {listing(written.rejected) or 'none'}\n"
        f"Why: {written.folder / PSEUDO_LABELS_FILE}\n"
        f"Next: nnUNetv2_plan_and_preprocess -d {options.d} -c {written.configuration}\n"
        f"      nnUNetv2_train {options.d} {written.configuration} FOLD"
    )


def build_parser() -> CommandParser:
    """Build the parser of the command."""
    parser = CommandParser(
        "nnUNetv2_crln_pseudo_label",
        "Write a new, stock nnU-Net dataset: the labelled cases, and the unlabelled ones that the model is surest of "
        "with its own labels, in which doubtful voxels carry the ignore label. For plain nnU-Net, or for correcting by "
        "hand. Training on pseudo labels without such a gate has been seen to hurt. Run it again to continue after an "
        "interruption.",
        "nnUNetv2_crln_pseudo_label $nnUNet_results/Dataset150_Name/nnUNetTrainer_CRLN__nnUNetPlans__3d_fullres -d 250",
    )
    add_model_flags(parser)
    parser.add_argument("-d", type=dataset_id, required=True, metavar="ID", help="number of the new dataset")
    parser.add_argument(
        "--name", type=plain_name, help="of the new dataset after its number; default: that of the source and Pseudo"
    )
    parser.add_argument(
        "--keep", type=share, default=0.5, metavar="SHARE", help="of the unlabelled cases, the surest; default: 0.5"
    )
    parser.add_argument(
        "--confidence",
        type=probability,
        default=0.95,
        metavar="P",
        help="voxels below it are ignored; default: %(default)s",
    )
    return parser


if __name__ == "__main__":
    main()

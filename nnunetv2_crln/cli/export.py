"""``nnUNetv2_crln_export``: a model folder for computers without this package."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from nnunetv2_crln.layout import CHECKPOINT_FINAL
from nnunetv2_crln.model_folders import find_model_folder
from nnunetv2_crln.raw_dataset.dataset_argument import dataset_id
from nnunetv2_crln.utilities.argument_types import plain_name
from nnunetv2_crln.utilities.command_parser import CommandParser
from nnunetv2_crln.utilities.run_command import run


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    run(lambda: command(arguments))


def command(arguments: Sequence[str] | None = None) -> None:
    """Run the command and let errors pass."""
    options = build_parser().parse_args(arguments)
    model = find_model_folder(options.d, options.tr, options.p, options.c)
    # Imported after the first check: a typing mistake need not wait for torch.
    from nnunetv2_crln.export import export_model

    output = options.o / model.parent.name / model.name
    export_model(model, output, options.f, options.chk, options.network)
    folds = " ".join(options.f)
    print(
        f"Written: {output}\n"
        "On a computer with nnU-Net alone:\n"
        f"  nnUNetv2_predict_from_modelfolder -m {shlex.quote(str(output))} -f {folds} -chk {options.chk} "
        "-i IMAGES -o OUTPUT\n"
        f"or, with nnUNet_results={shlex.quote(str(options.o))}:\n"
        f"  nnUNetv2_predict -d {options.d} -c {options.c} -f {folds} -tr {options.tr} -p {options.p} "
        f"-chk {options.chk} -i IMAGES -o OUTPUT"
    )


def build_parser() -> CommandParser:
    """Build the parser of the command."""
    parser = CommandParser(
        "nnUNetv2_crln_export",
        "Export a trained model so that stock nnU-Net, without nnunetv2_crln, predicts with it: the network alone, "
        "without training state. The segmentations are those of nnUNetv2_predict here.",
        "nnUNetv2_crln_export -d 150 -c 3d_fullres -f all -o EXPORTED",
    )
    parser.add_argument("-d", type=dataset_id, required=True, help="dataset name or id")
    parser.add_argument("-c", type=plain_name, required=True, help="configuration, e.g. 3d_fullres")
    parser.add_argument("-f", nargs="+", type=plain_name, required=True, help="folds to export: 0 1 2 3 4 or all")
    parser.add_argument("-o", type=Path, required=True, help="what becomes nnUNet_results on the other computer")
    parser.add_argument("-tr", type=plain_name, default="nnUNetTrainer_CRLN", help="trainer (default: %(default)s)")
    parser.add_argument("-p", type=plain_name, default="nnUNetPlans", help="plans identifier (default: %(default)s)")
    parser.add_argument("-chk", type=plain_name, default=CHECKPOINT_FINAL, help="checkpoint (default: %(default)s)")
    parser.add_argument(
        "--network",
        choices=["deployed", "teacher", "student"],
        default="deployed",
        help="which of the two networks (default: the one that nnUNetv2_predict uses)",
    )
    return parser


if __name__ == "__main__":
    main()

"""``nnUNetv2_crln_compare``: test whether the unlabelled cases help on a dataset."""

from collections.abc import Sequence
from pathlib import Path

from nnunetv2_crln.raw_dataset.dataset_argument import dataset_id
from nnunetv2_crln.utilities.argument_types import plain_name, whole_number
from nnunetv2_crln.utilities.command_parser import CommandParser
from nnunetv2_crln.utilities.run_command import run


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    run(lambda: command(arguments))


def command(arguments: Sequence[str] | None = None) -> None:
    """Run the command and let errors pass."""
    options = build_parser().parse_args(arguments)
    # Imported after parsing: --help need not wait for nnU-Net.
    from nnunetv2_crln.comparison.compare import compare
    from nnunetv2_crln.comparison.options import CompareOptions

    chosen = CompareOptions(
        dataset_id=options.d,
        configuration=options.c,
        methods=tuple(options.methods),
        folds=tuple(options.f),
        plans_name=options.p,
        epochs=options.epochs,
        device=options.device,
        gpus=tuple(options.gpus),
        at_once=options.at_once,
        measure=not options.no_estimate,
        output=options.o or Path(f"comparison_{options.d:03d}_{options.c}"),
    )
    print(f"\n{compare(chosen)}\nTable, reports, predictions and logs: {chosen.output}")


def build_parser() -> CommandParser:
    """Build the parser of the command."""
    parser = CommandParser(
        "nnUNetv2_crln_compare",
        "Train several methods on your dataset and compare them on the labelled cases that the folds hold out: one "
        "table with paired intervals, and a report page. A few steps of each method tell first how long it will take "
        "and how much memory it needs. Finished trainings are not repeated. Run it again to continue after an "
        "interruption.",
        "nnUNetv2_crln_compare -d 150 -c 3d_fullres -f 0 1 2 3 4 --gpus 0 1\n"
        "nnUNetv2_crln_compare -d 150 -c 3d_fullres --methods supervised crln --epochs 20",
    )
    parser.add_argument("-d", type=dataset_id, required=True, metavar="ID", help="number of the preprocessed dataset")
    parser.add_argument("-c", type=plain_name, required=True, metavar="CONFIGURATION", help="such as 3d_fullres")
    parser.add_argument(
        "--methods",
        nargs="+",
        default=["supervised", "mean_teacher", "crln"],
        metavar="METHOD",
        help="some of supervised, mean_teacher, crln_no_cps, crln and recipe (plain nnU-Net trained on the supervised "
        "model's predictions of imagesUl, too); the first is the baseline; default: %(default)s",
    )
    parser.add_argument("-f", nargs="+", type=whole_number(0), default=[0], metavar="FOLD", help="folds; default: 0")
    parser.add_argument("-p", type=plain_name, default="nnUNetPlans", metavar="PLANS", help="default: %(default)s")
    parser.add_argument(
        "--epochs",
        type=whole_number(),
        metavar="N",
        help="epochs of 250 iterations (or as many as short_schedule in the plans says), with the optimiser of the "
        "_short trainers; default: nnU-Net's 1000 epochs",
    )
    parser.add_argument("-device", choices=("cuda", "cpu", "mps"), default="cuda", help="default: %(default)s")
    parser.add_argument(
        "--gpus",
        nargs="+",
        type=whole_number(0),
        default=[],
        metavar="N",
        help="numbers of the GPUs; each does one training at a time",
    )
    parser.add_argument(
        "--at_once", type=whole_number(), default=1, metavar="N", help="trainings at a time on one device; default: 1"
    )
    parser.add_argument("--no_estimate", action="store_true", help="do not measure the steps of each method first")
    parser.add_argument("-o", type=Path, metavar="FOLDER", help="default: comparison_ID_CONFIGURATION")
    return parser


if __name__ == "__main__":
    main()

"""``nnUNetv2_crln_demo``: the whole workflow on generated data, on a CPU, in minutes."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.utilities.command_parser import CommandParser
from nnunetv2_crln.utilities.run_command import run


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    run(lambda: command(arguments))


def command(arguments: Sequence[str] | None = None) -> None:
    """Run the command and let errors pass."""
    options = build_parser().parse_args(arguments)
    # Imported after parsing: --help need not wait for SciPy.
    from nnunetv2_crln.demo.pipeline import FAST, Demo, DemoSettings

    if options.fast:
        vars(options).update(FAST)
    _check(options)
    settings = DemoSettings(
        labelled=options.labelled,
        unlabelled=options.unlabelled,
        held_out=options.test,
        seed=options.seed,
        epochs=options.epochs,
        device=options.device,
        methods=tuple(options.methods),
    )
    demo = Demo(options.o, settings)
    if options.dataset_only:
        demo.write_dataset()
        return
    print(f"\n{demo.run()}")
    if options.fast:
        print("These few steps train nothing worth comparing: run without --fast for that.")
    for method in settings.methods[1:]:
        print(f"Report: {demo.comparison.report_file(method)}")
    print(f"Table, predictions and logs: {demo.comparison.output}\nModels: {demo.results}")


def _check(options: argparse.Namespace) -> None:
    for name, least in (("labelled", 1), ("unlabelled", 1), ("test", 1), ("epochs", 1), ("seed", 0)):
        if getattr(options, name) < least:
            raise UserError(f"--{name} {getattr(options, name)}: expected {least} or more.")


def build_parser() -> CommandParser:
    """Build the parser of the command."""
    parser = CommandParser(
        "nnUNetv2_crln_demo",
        "Generate a small dataset of hearts and run the real commands on it: planning, then a comparison of training "
        "with the labelled cases alone and with CRLN on held-out cases. Run it again to continue if interrupted.",
        "nnUNetv2_crln_demo -o demo_output",
    )
    parser.add_argument("-o", type=Path, default=Path("demo_output"), metavar="FOLDER", help="default: %(default)s")
    parser.add_argument(
        "--methods",
        nargs="+",
        default=["supervised", "crln"],
        metavar="METHOD",
        help="those of nnUNetv2_crln_compare, the baseline first; default: supervised crln",
    )
    parser.add_argument("-device", choices=("cpu", "cuda", "mps"), default="cpu", help="default: %(default)s")
    parser.add_argument(
        "--fast", action="store_true", help="a fraction of the work: shows the workflow, compares nothing"
    )
    parser.add_argument("--epochs", type=int, default=14, help="epochs of 50 iterations; default: %(default)s")
    parser.add_argument("--labelled", type=int, default=4, help="labelled cases; default: %(default)s")
    parser.add_argument("--unlabelled", type=int, default=24, help="unlabelled cases; default: %(default)s")
    parser.add_argument("--test", type=int, default=10, help="held-out labelled cases; default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of the patients, weights and batches; default: 0")
    parser.add_argument(
        "--dataset_only", action="store_true", help="write the raw dataset into FOLDER/nnUNet_raw, stop"
    )
    return parser


if __name__ == "__main__":
    main()

"""``nnUNetv2_crln_demo``: the whole workflow on generated data, on a CPU, in minutes."""

import argparse
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from nnunetv2_crln.demo.settings import FAST, DemoSettings
from nnunetv2_crln.utilities.argument_types import whole_number
from nnunetv2_crln.utilities.command_parser import CommandParser
from nnunetv2_crln.utilities.run_command import run

# Flags of numbers: the setting, its smallest value and its meaning.
_NUMBERS = {
    "--epochs": ("epochs", 1, "epochs of 50 iterations"),
    "--labelled": ("labelled", 1, "labelled cases"),
    "--unlabelled": ("unlabelled", 1, "unlabelled cases"),
    "--test": ("held_out", 1, "held-out labelled cases"),
    "--seed": ("seed", 0, "of the patients, weights and batches"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    run(lambda: command(arguments))


def command(arguments: Sequence[str] | None = None) -> None:
    """Run the command and let errors pass."""
    options = build_parser().parse_args(arguments)
    settings = settings_of(options)
    # Imported after parsing: --help need not wait for SciPy.
    from nnunetv2_crln.demo.pipeline import Demo

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


def settings_of(options: argparse.Namespace) -> DemoSettings:
    """Return the demo's settings, or those of ``--fast``, with the values that were typed."""
    typed = {field.name: getattr(options, field.name) for field in fields(DemoSettings)}
    typed = {name: value for name, value in typed.items() if value is not None}
    if "methods" in typed:
        typed["methods"] = tuple(typed["methods"])
    return replace(FAST if options.fast else DemoSettings(), **typed)


def build_parser() -> CommandParser:
    """Build the parser of the command."""
    parser = CommandParser(
        "nnUNetv2_crln_demo",
        "Generate a small dataset of hearts and run the real commands on it: planning, then a comparison of training "
        "with the labelled cases alone and with CRLN on held-out cases. Run it again to continue if interrupted.",
        "nnUNetv2_crln_demo -o demo_output",
    )
    usual = DemoSettings()
    parser.add_argument("-o", type=Path, default=Path("demo_output"), metavar="FOLDER", help="default: %(default)s")
    parser.add_argument(
        "--methods",
        nargs="+",
        metavar="METHOD",
        help=f"those of nnUNetv2_crln_compare, the baseline first; default: {' '.join(usual.methods)}",
    )
    parser.add_argument("-device", choices=("cpu", "cuda", "mps"), help=f"default: {usual.device}")
    parser.add_argument(
        "--fast", action="store_true", help="a fraction of the work: shows the workflow, compares nothing"
    )
    for flag, (name, least, meaning) in _NUMBERS.items():
        text = f"{meaning}; default: {getattr(usual, name)}"
        if (fast := getattr(FAST, name)) != getattr(usual, name):
            text += f", with --fast {fast}"
        parser.add_argument(flag, dest=name, type=whole_number(least), metavar="N", help=text)
    parser.add_argument(
        "--dataset_only", action="store_true", help="write the raw dataset into FOLDER/nnUNet_raw, stop"
    )
    return parser


if __name__ == "__main__":
    main()

"""``nnUNetv2_crln_report``: one HTML page about a trained model."""

import argparse
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.layout import REPORT_FILE
from nnunetv2_crln.utilities.command_parser import CommandParser
from nnunetv2_crln.utilities.run_command import run

COMMAND = "nnUNetv2_crln_report"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    run(lambda: command(arguments))


def command(arguments: Sequence[str] | None = None) -> None:
    """Run the command and let errors pass."""
    options = build_parser().parse_args(arguments)
    # Imported after parsing: --help need not wait for torch.
    from nnunetv2_crln.reporting.blocks import PAGE_MARK
    from nnunetv2_crln.reporting.report import build_report
    from nnunetv2_crln.utilities.files import refuse_to_replace, write_text

    output = options.o or options.model_folder / REPORT_FILE
    _check(options, output)
    refuse_to_replace(output, PAGE_MARK, COMMAND)
    page = build_report(
        options.model_folder,
        options.baseline,
        options.evaluation,
        options.baseline_evaluation,
        page_folder=output.parent,
    )
    write_text(output, page)
    print(f"Written: {output} ({len(page) / 1e6:.1f} MB)")
    if options.open and not webbrowser.open(output.resolve().as_uri()):
        print("No browser could be started here: copy the file to a computer that has one.")


def _check(options: argparse.Namespace, output: Path) -> None:
    if output.suffix not in (".html", ".htm") or output.is_dir():
        raise UserError(f"Output {output} must be a file name ending in .html, such as {REPORT_FILE}.")
    if len(options.baseline_evaluation) > len(options.evaluation):
        raise UserError("--baseline_evaluation names more files than --evaluation: give them in the same order.")


def build_parser() -> CommandParser:
    """Build the parser of the command."""
    parser = CommandParser(
        COMMAND,
        "Write one self-contained HTML page about a trained model: what was trained on what, curves, pseudo labels "
        "over time, scores, comparison with another model, and the unlabelled cases worth annotating next. Reads "
        "result files only; may be run while a training goes on.",
        "nnUNetv2_crln_report $nnUNet_results/Dataset150_Name/nnUNetTrainer_CRLN__nnUNetPlans__3d_fullres",
    )
    parser.add_argument(
        "model_folder", type=Path, metavar="MODEL_FOLDER", help="the trainer's folder in nnUNet_results, or its fold_X"
    )
    parser.add_argument("-o", type=Path, metavar="FILE", help=f"page; default: MODEL_FOLDER/{REPORT_FILE}")
    parser.add_argument("--baseline", type=Path, metavar="OTHER_MODEL_FOLDER", help="model to compare with")
    parser.add_argument(
        "--evaluation",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="results of nnUNetv2_crln_evaluate, e.g. of the test cases; those inside the model folder are found",
    )
    parser.add_argument(
        "--baseline_evaluation", type=Path, nargs="+", default=[], metavar="FILE", help="the baseline's, in that order"
    )
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    return parser


if __name__ == "__main__":
    main()

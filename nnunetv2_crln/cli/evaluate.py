"""``nnUNetv2_crln_evaluate``: Dice, Jaccard, ASD and 95HD of a folder of predictions."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.layout import EVALUATION_FILE
from nnunetv2_crln.utilities.argument_types import whole_number
from nnunetv2_crln.utilities.command_parser import CommandParser
from nnunetv2_crln.utilities.print_warnings import print_warnings
from nnunetv2_crln.utilities.run_command import run

COMMAND = "nnUNetv2_crln_evaluate"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    run(lambda: command(arguments))


def command(arguments: Sequence[str] | None = None) -> None:
    """Run the command and let errors pass."""
    options = build_parser().parse_args(arguments)
    # Imported after parsing: --help and typing mistakes need not wait for SciPy.
    from nnunetv2_crln.evaluation.comparison import COMPARISON_RESAMPLES, compare_evaluations
    from nnunetv2_crln.evaluation.folder import check_folders, evaluate_folder
    from nnunetv2_crln.evaluation.summary_file import SUMMARY_MARK
    from nnunetv2_crln.evaluation.tables import CSV_MARK, MARKDOWN_MARK, csv_table, markdown_table, terminal_table
    from nnunetv2_crln.utilities.files import refuse_to_replace, refuse_unwritable, write_text
    from nnunetv2_crln.utilities.json_files import write_json_with_nulls

    output = _output_file(options)
    folders = [options.predictions] + ([options.compare] if options.compare else [])
    for folder in folders:  # a mistake in the second folder shows before the first is evaluated
        check_folders(options.labels, folder, options.djfile, options.chill)
    tables = [(".csv", CSV_MARK, csv_table)] * options.csv + [(".md", MARKDOWN_MARK, markdown_table)] * options.markdown
    refuse_to_replace(output, SUMMARY_MARK, COMMAND)
    for ending, mark, _ in tables:
        refuse_to_replace(output.with_suffix(ending), mark, COMMAND)
    refuse_unwritable(output)
    summary, *others = [
        evaluate_folder(
            options.labels,
            folder,
            options.djfile,
            options.np,
            resamples=options.bootstrap,
            seed=options.seed,
            allow_missing=options.chill,
            ignore_origin=options.ignore_origin,
        )
        for folder in folders
    ]
    for other in others:
        resamples = max(options.bootstrap, COMPARISON_RESAMPLES)
        summary["comparison"] = compare_evaluations(summary, other, options.seed, resamples)
    print_warnings(summary.get("remarks", []))
    print(terminal_table(summary))
    write_json_with_nulls(summary, output)
    written = [output]
    for ending, _, table in tables:
        write_text(output.with_suffix(ending), table(summary))
        written.append(output.with_suffix(ending))
    print("Written:", *written)


def _output_file(options: argparse.Namespace) -> Path:
    output = options.o or options.predictions / EVALUATION_FILE
    if output.suffix != ".json" or output.is_dir():
        raise UserError(f"Output {output} must be a file name ending in .json, such as {output / EVALUATION_FILE}.")
    return output


def build_parser() -> CommandParser:
    """Build the parser of the command."""
    parser = CommandParser(
        COMMAND,
        "Measure predictions: Dice, Jaccard, average surface distance and 95 % Hausdorff distance for each case and "
        "class, with bootstrap mean ± sd and 95 % interval. Definitions and the format of the result: "
        "docs/evaluation.md in the repository.",
        "nnUNetv2_crln_evaluate $nnUNet_raw/Dataset150_Name/labelsTs PREDICTIONS --compare PREDICTIONS_OF_THE_BASELINE",
    )
    parser.add_argument("labels", type=Path, metavar="LABELS", help="folder of label files")
    parser.add_argument("predictions", type=Path, metavar="PREDICTIONS", help="folder of predictions, named like them")
    parser.add_argument(
        "-djfile",
        type=Path,
        metavar="FILE",
        help="dataset.json with the classes; default: beside the LABELS folder, else in PREDICTIONS",
    )
    parser.add_argument("-o", type=Path, metavar="FILE", help=f"result; default: PREDICTIONS/{EVALUATION_FILE}")
    parser.add_argument("--csv", action="store_true", help="also write each case and class as CSV, beside the result")
    parser.add_argument("--markdown", action="store_true", help="also write the means as Markdown, beside the result")
    parser.add_argument(
        "-np", type=whole_number(), metavar="N", help="worker processes; default: nnU-Net's, at most one per core"
    )
    parser.add_argument(
        "--bootstrap",
        type=whole_number(2),
        default=100,
        metavar="N",
        help="resamples; default: 100, as in CRLN's paper",
    )
    parser.add_argument(
        "--seed", type=whole_number(0), default=0, metavar="S", help="seed of the resamples; default: 0"
    )
    parser.add_argument(
        "--compare",
        type=Path,
        metavar="FOLDER",
        help="predictions of another model for the same labels: difference with 95 %% interval and Wilcoxon test",
    )
    parser.add_argument(
        "--ignore_origin",
        action="store_true",
        help="compare voxel by voxel although the origins in the headers differ, as nnUNetv2_evaluate_folder does",
    )
    parser.add_argument(
        "--chill", action="store_true", help="evaluate only the labels that have a prediction, such as one fold's"
    )
    return parser


if __name__ == "__main__":
    main()

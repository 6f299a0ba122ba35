"""Parse the options and run the steps that all conversion scripts share."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from nnunetv2_crln.dataset_conversion.common.converter import Conversion, Target, convert
from nnunetv2_crln.dataset_conversion.common.search import Found
from nnunetv2_crln.dataset_conversion.common.splits import Split, split_from_lists
from nnunetv2_crln.dataset_conversion.common.summary import summarise
from nnunetv2_crln.utilities.argument_types import plain_name, whole_number
from nnunetv2_crln.utilities.command_parser import CommandParser
from nnunetv2_crln.utilities.run_command import run


def build_parser(
    description: str, dataset_id: int, name: str, num_labelled: int, counted: str = "cases"
) -> CommandParser:
    """Build a parser with the options that every conversion has.

    Args:
        description: Text that explains where to get the data and how the folder must be organised.
        dataset_id: Default dataset number.
        name: Default dataset name, by which nnUNetv2_crln_convert knows the dataset.
        num_labelled: Default number of labelled cases or patients.
        counted: Word for what ``num_labelled`` counts: cases, or patients who have several cases.

    Returns:
        Parser to which a script may add options.
    """
    command = f"nnUNetv2_crln_convert {name}"
    parser = CommandParser(
        command, description, f"{command} -i FOLDER --dry_run\n{command} -i FOLDER --num_labelled {num_labelled}"
    )
    parser.add_argument(
        "-i", type=Path, nargs="+", required=True, metavar="FOLDER", help="folder(s) with the downloaded data"
    )
    parser.add_argument(
        "-d", type=whole_number(1, 999), default=dataset_id, metavar="ID", help="dataset number (default: %(default)s)"
    )
    parser.add_argument("--name", type=plain_name, default=name, help="name after the number (default: %(default)s)")
    parser.add_argument(
        "--num_labelled",
        type=whole_number(),
        default=num_labelled,
        metavar="N",
        help=f"the first N training {counted} are labelled (default: %(default)s)",
    )
    parser.add_argument("--train_list", type=Path, metavar="FILE", help="your training cases, one name per line")
    parser.add_argument("--val_list", type=Path, metavar="FILE", help="your validation cases, one name per line")
    parser.add_argument("--test_list", type=Path, metavar="FILE", help="your test cases, one name per line")
    parser.add_argument(
        "--allow_partial", action="store_true", help="make a smaller dataset if cases are missing or broken"
    )
    parser.add_processes()
    parser.add_argument("--dry_run", action="store_true", help="only print what would be written")
    return parser


def convert_dataset(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str] | None,
    published: Split,
    find: Callable[[argparse.Namespace], Found],
    make_conversion: Callable[[argparse.Namespace], Conversion],
) -> None:
    """Parse the options, convert the dataset and print a summary; exit with status 1 if any case failed.

    Args:
        parser: Parser from :func:`build_parser`, with the options of the dataset added.
        arguments: Arguments of the command line; None takes ``sys.argv``.
        published: Split to use unless the user gives lists.
        find: Function that searches the folders.
        make_conversion: Function that returns the conversion for the parsed options.
    """
    run(lambda: _convert(parser, arguments, published, find, make_conversion))


def _convert(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str] | None,
    published: Split,
    find: Callable[[argparse.Namespace], Found],
    make_conversion: Callable[[argparse.Namespace], Conversion],
) -> None:
    options = parser.parse_args(arguments)
    split = split_from_lists(published, options.train_list, options.val_list, options.test_list)
    target = Target(
        options.d, options.name, options.num_labelled, options.allow_partial, options.np, dry_run=options.dry_run
    )
    folder = target.folder
    report = convert(target, make_conversion(options), split, find(options))
    print(summarise(report))
    if options.dry_run:
        print(f"Dry run: nothing was written. The dataset would be {folder}.")
    elif (folder / "dataset.json").is_file():
        print(f"Wrote {folder}. Next: nnUNetv2_crln_plan_and_preprocess -d {options.d} --verify_dataset_integrity")
    else:
        print(
            f"{folder} has no dataset.json yet, because cases failed. Repair them and run the same command again "
            "(it continues where it stopped), or give --allow_partial to leave them out.",
            file=sys.stderr,
        )
    if report.errors:
        sys.exit(1)

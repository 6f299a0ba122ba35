"""``nnUNetv2_crln_convert``: one command for all conversions of public datasets."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from nnunetv2_crln import dataset_conversion
from nnunetv2_crln.utilities.command_parser import CommandParser
from nnunetv2_crln.utilities.run_command import run


def conversions() -> dict[str, str]:
    """Return the module of each conversion by the dataset's name: ``DatasetXXX_Name.py`` converts ``Name``."""
    scripts = sorted(Path(dataset_conversion.__path__[0]).glob("Dataset[0-9][0-9][0-9]_*.py"))
    return {script.stem.split("_", 1)[1]: f"{dataset_conversion.__name__}.{script.stem}" for script in scripts}


def build_parser() -> CommandParser:
    """Build the parser of what all conversions have in common: the name of the dataset."""
    names = tuple(conversions())
    parser = CommandParser(
        "nnUNetv2_crln_convert",
        "Convert a public dataset into one with labelled, unlabelled and test cases in nnUNet_raw. Each dataset has "
        "its own options, and its own help: where to download it, what the folder must look like, its protocols.",
        f"nnUNetv2_crln_convert {names[0]} -h\nnnUNetv2_crln_convert {names[0]} -i FOLDER",
    )
    parser.add_argument("dataset", choices=names, metavar="DATASET", help=", ".join(names))
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    run(lambda: command(arguments))


def command(arguments: Sequence[str] | None = None) -> None:
    """Run the conversion that the first argument names with the others, and let errors pass."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = build_parser().parse_args(given[:1])
    import_module(conversions()[options.dataset]).main(given[1:])


if __name__ == "__main__":
    main()

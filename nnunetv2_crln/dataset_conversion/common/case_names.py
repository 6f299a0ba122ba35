"""Check case names, which become parts of file names, and read lists of them."""

import json
import re
from collections import Counter
from pathlib import Path

from nnunetv2_crln.errors import UserError, listing

# No separators, no leading dot: a name can neither leave its folder nor hide in it.
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def check_case_name(name: str, where: str | Path) -> str:
    """Check that a name is safe as part of a file name.

    Args:
        name: Case name from a folder, a file or a list.
        where: Source of the name, for the message.

    Returns:
        The name.

    Raises:
        UserError: The name has a path separator, a blank or another character that does not belong in file names.
    """
    if not _SAFE_NAME.fullmatch(name) or ".." in name:
        raise UserError(
            f"{where}: {name!r} is not a valid case name. Expected letters, digits, '_', '-' and single dots, "
            "starting with a letter or digit. Rename the case."
        )
    return name


def read_case_list(path: str | Path, check: bool = True) -> list[str]:
    """Read case names from a text file (one per line, ``#`` starts a comment) or from a JSON list.

    Args:
        path: Path of the file.
        check: Refuse names that are not safe as part of a new file name.

    Returns:
        Names in the order of the file.

    Raises:
        UserError: The file cannot be read, is empty, or names a case twice.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        names = (
            json.loads(text) if path.suffix == ".json" else [line.split("#")[0].strip() for line in text.split("\n")]
        )
    except (OSError, ValueError) as error:
        raise UserError(f"Cannot read the case list {path}: {error}. Expected one case name per line.") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{path} is not a list of case names. Expected a JSON list of strings.")
    names = [check_case_name(name, path) if check else name for name in names if name]
    if not names:
        raise UserError(f"The case list {path} is empty. Expected one case name per line.")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(f"{path} lists {len(twice)} case(s) twice: {listing(twice)}. Remove the repetition.")
    return names

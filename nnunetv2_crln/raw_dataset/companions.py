"""Find the files that nnU-Net's readers open beside an image: spacing of 3D TIFF, voxels behind a detached header."""

from __future__ import annotations

import re
from pathlib import Path

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.utilities.json_files import read_json

TIFF_ENDINGS = (".tif", ".tiff")
_CHANNEL = re.compile(r"(.+)_\d{4}")
_HEADER_ENDINGS = (".nrrd", ".nhdr", ".mha", ".mhd")
_LONGEST_HEADER = 1 << 16
_DATA_FILE = re.compile(r"^(?:data ?file\s*:|ElementDataFile\s*=)[ \t]*(.+?)[ \t]*$", re.IGNORECASE | re.MULTILINE)


def companions_of_image(file: str | Path) -> list[Path]:
    """Return the files beside one channel file that belong to its case, if they exist."""
    file = Path(file)
    if spacing := spacing_file(file, is_label=False):
        return [spacing] if spacing.is_file() else []
    return _data_files(file)


def companions_of_label(file: str | Path) -> list[Path]:
    """Return the files beside a label that belong to it, if they exist."""
    file = Path(file)
    if spacing := spacing_file(file, is_label=True):
        return [spacing] if spacing.is_file() else []
    return _data_files(file)


def with_companions(source: str | Path, target: str | Path, is_label: bool = False) -> list[tuple[Path, Path]]:
    """Pair a file and its companions with the places that they take when the file is linked, copied or moved.

    Args:
        source: Channel file or label.
        target: New place of the file; its name may differ.
        is_label: The file is a label, whose name has no channel number.

    Returns:
        Source and target of the file itself, then of each companion.
    """
    target = Path(target)
    companions = (companions_of_label if is_label else companions_of_image)(source)
    # The spacing of a TIFF file is named after its case; voxels have the name that the header says.
    return [
        (Path(source), target),
        *((path, spacing_file(target, is_label) or target.with_name(path.name)) for path in companions),
    ]


def has_voxels_elsewhere(file: str | Path) -> bool:
    """Tell whether an image is a header alone; files of voxels keep their names, which two scans may share."""
    return bool(_data_files(Path(file)))


def spacing_file(file: str | Path, is_label: bool) -> Path | None:
    """Return the path where nnU-Net looks for the spacing of a TIFF file.

    Args:
        file: Channel file or label.
        is_label: The file is a label, whose name has no channel number.

    Returns:
        Path that may not exist; None for other formats.
    """
    file = Path(file)
    if not file.name.lower().endswith(TIFF_ENDINGS):
        return None
    channel = None if is_label else _CHANNEL.fullmatch(file.stem)
    return file.with_name(f"{channel.group(1) if channel else file.stem}.json")


def check_spacing_file(path: Path) -> None:
    """Check the spacing beside a 3D TIFF file, which nnU-Net reads without looking.

    Raises:
        UserError: The file is not ``{"spacing": [Z, Y, X]}`` with numbers above 0.
    """
    expected = 'expected {"spacing": [Z, Y, X]} with three numbers above 0 (mm), in the order of the TIFF\'s axes'
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): {expected}. Correct the file.") from None
    spacing = content.get("spacing") if isinstance(content, dict) else None
    if not isinstance(spacing, list) or len(spacing) != 3 or not all(_is_length(value) for value in spacing):
        raise UserError(f"{path} holds {str(content)[:80]}: {expected}. Correct the file.")


def _is_length(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf")


def _data_files(file: Path) -> list[Path]:
    """Return the voxel files that a header names (NRRD, MetaImage), and the second half of an Analyze pair."""
    if file.name.endswith((".hdr", ".img")):
        other = file.with_suffix(".img" if file.suffix == ".hdr" else ".hdr")
        return [path for path in (other, Path(f"{other}.gz")) if path.is_file()]
    if not file.name.lower().endswith(_HEADER_ENDINGS) or not file.is_file():
        return []
    with file.open("rb") as opened:
        text = opened.read(_LONGEST_HEADER).decode("latin-1")
    if file.name.lower().endswith((".nrrd", ".nhdr")):
        header, _, rest = text.replace("\r\n", "\n").partition("\n\n")
    else:
        header, rest = text, ""
    match = _DATA_FILE.search(header)
    if match is None or match.group(1).upper() == "LOCAL":
        return []
    if match.group(1).upper().startswith("LIST"):
        names = (rest or header[match.end() :] or "").split("\n")
    else:
        names = [match.group(1)]
    paths = [file.parent / name.strip() for name in names if name.strip() and "\0" not in name]
    return [path for path in paths if path.is_file()]

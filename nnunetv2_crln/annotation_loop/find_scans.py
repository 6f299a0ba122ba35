"""Find the scans in a folder of any layout, and derive the name and the channels that nnU-Net expects."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunetv2_crln.dataset_conversion.common.dicom import is_dicom
from nnunetv2_crln.errors import UserError, listing
from nnunetv2_crln.raw_dataset.survey import image_endings

_CHANNEL = re.compile(r"(.+)_(\d{4})")
_DICOM_MAGIC = slice(128, 132)


@dataclass(frozen=True)
class Scan:
    """One case before it is part of a dataset.

    Attributes:
        name: Name of the case in the dataset.
        channels: One source per channel, in the order of dataset.json: an image file or a folder with a DICOM series.
        fault: Reason why the scan cannot be used; empty if none is known.
    """

    name: str
    channels: tuple[Path, ...]
    fault: str = ""

    @property
    def source(self) -> str:
        """Path of the first channel, for messages."""
        return str(self.channels[0])


def find_scans(
    folders: Sequence[Path], num_channels: int, patterns: Sequence[str] = (), prefix: str = ""
) -> list[Scan]:
    """Find all scans below some folders.

    Args:
        folders: Folders to search, with everything below them; hidden files are ignored.
        num_channels: Number of channels of the dataset.
        patterns: One pattern per channel, with ``{case}`` for the name of the case, such as ``{case}_t1.nii.gz`` or
            ``{case}/FLAIR``. Without patterns, files are channels if they are named ``CASE_0000.ext``.
        prefix: Prefix for every name.

    Returns:
        Scans in the order of their names; those without all channels, or with the name of another scan, have a fault.

    Raises:
        UserError: A folder is missing or holds no image, or the patterns do not fit.
    """
    if patterns:
        _check_patterns(patterns, num_channels)
    found: dict[str, dict[int, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for folder in folders:
        sources = _sources(folder)
        named = _by_pattern(sources, patterns) if patterns else _by_number(sources, num_channels)
        for name, channel, path in named:
            found[prefix + re.sub(r"[^\w.-]+", "_", name)][channel].append(path)
        if not named:
            wanted = f" that fits {' or '.join(patterns)}" if patterns else ""
            raise UserError(
                f"{folder} holds no image and no DICOM series{wanted}. Expected files ending in "
                f"{', '.join(sorted(_endings()))}, or folders of DICOM slices."
            )
    return [_scan(name, channels, num_channels) for name, channels in sorted(found.items())]


def _check_patterns(patterns: Sequence[str], num_channels: int) -> None:
    if len(patterns) != num_channels:
        raise UserError(
            f"--channels has {len(patterns)} pattern(s), but dataset.json names {num_channels} channel(s). Give one "
            "pattern for each channel, in the order of dataset.json."
        )
    if without := [pattern for pattern in patterns if "{case}" not in pattern]:
        raise UserError(
            f"--channels {listing(without)}: {{case}} is missing. Write it where the name of the case stands, such as "
            "{case}_t1.nii.gz."
        )


def _endings() -> tuple[str, ...]:
    return (*image_endings(), ".nii", ".mhd")


def _sources(folder: Path) -> dict[str, Path]:
    """Return image files and folders of DICOM slices by their path relative to ``folder``."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder. Name the folder that holds the scans.")
    sources, series = {}, set()
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if any(part.startswith(".") for part in relative.parts) or not path.is_file():
            continue
        if path.name.endswith(_endings()):
            sources[relative.as_posix()] = path
        elif path.parent not in series and _is_slice(path):
            series.add(path.parent)
    for path in series:
        relative = path.relative_to(folder)
        sources[relative.as_posix() if relative.parts else folder.resolve().name] = path
    return sources


def _is_slice(path: Path) -> bool:
    if is_dicom(path):
        return True
    if path.suffix:
        return False
    with path.open("rb") as file:  # scanners write slices without an ending
        return file.read(_DICOM_MAGIC.stop)[_DICOM_MAGIC] == b"DICM"


def _by_pattern(sources: dict[str, Path], patterns: Sequence[str]) -> list[tuple[str, int, Path]]:
    named = []
    for channel, pattern in enumerate(patterns):
        start, *rest = [re.escape(part) for part in pattern.split("{case}")]
        expression = re.compile(start + "(?P<case>[^/]+)" + "(?P=case)".join(rest))
        for relative, path in sources.items():
            # A pattern without a folder fits files in any folder.
            text = relative if "/" in pattern else relative.rsplit("/", 1)[-1]
            if match := expression.fullmatch(text):
                named.append((match["case"], channel, path))
    return named


def _by_number(sources: dict[str, Path], num_channels: int) -> list[tuple[str, int, Path]]:
    stems = {_without_ending(relative): path for relative, path in sources.items()}
    numbered = {stem: match for stem in stems if (match := _CHANNEL.fullmatch(stem))}
    # With one channel, "scan_0007" is a scan of that name; only "_0000" throughout means nnU-Net's names.
    if num_channels == 1 and not all(stem.endswith("_0000") for stem in stems):
        numbered = {}
    return [
        (numbered[stem][1], int(numbered[stem][2]), path) if stem in numbered else (stem, 0, path)
        for stem, path in stems.items()
    ]


def _without_ending(relative: str) -> str:
    ending = max((e for e in _endings() if relative.endswith(e)), key=len, default="")
    return relative.removesuffix(ending)


def _scan(name: str, channels: dict[int, list[Path]], num_channels: int) -> Scan:
    paths = tuple(path for channel in sorted(channels) for path in channels[channel])
    if doubled := [path for found in channels.values() for path in found[1:]]:
        return Scan(name, paths, f"several scans get this name, the other one is {doubled[0]}; rename one of them")
    if sorted(channels) != list(range(num_channels)):
        return Scan(
            name,
            paths,
            f"channel(s) {', '.join(map(str, sorted(channels)))} found, {num_channels} expected; name the files "
            "CASE_0000, CASE_0001 and so on, or describe their names with --channels",
        )
    return Scan(name, paths)

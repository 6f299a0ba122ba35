"""Find the scans in a folder of any layout, and derive the name and the channels that nnU-Net expects."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunetv2_crln.dataset_conversion.common.dicom import is_dicom
from nnunetv2_crln.errors import UserError, listing
from nnunetv2_crln.raw_dataset.check_names import RESERVED_ENDING
from nnunetv2_crln.raw_dataset.readers import image_endings
from nnunetv2_crln.utilities.names import BUT_FOR_CASE, portable_key

_CHANNEL = re.compile(r"(.+)_(\d{4})")
_DICOM_MAGIC = slice(128, 132)
# Volumes that would need care with their voxel files or orientation, and pictures with losses: named, not read.
_PICTURES = (".jpg", ".jpeg", ".jp2", ".gif", ".webp")
_OTHER_FORMATS = (".nhdr", ".hdr", ".img", ".img.gz", ".mgh", ".mgz", *_PICTURES)


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
        Scans in the order of their names, to which every image belongs; those without all channels, with the name of
        another scan or a reserved one, or in a format that is not read, have a fault; so have folders that cannot be
        listed and files that cannot be opened to see whether they are slices. With patterns, files that fit none are
        left out.

    Raises:
        UserError: A folder is missing, cannot be listed or holds no image, the patterns do not fit, or the prefix is no
            part of a name.
    """
    if not re.fullmatch(r"(?:[\w-][\w.-]*)?", prefix):
        raise UserError(
            f"--prefix {prefix!r} is no beginning of a file name. Expected letters, digits, '_', '-' and dots, without "
            "a dot in front."
        )
    if patterns:
        _check_patterns(patterns, num_channels)
    found: dict[str, dict[int, list[Path]]] = defaultdict(lambda: defaultdict(list))
    closed: list[Scan] = []
    for folder in folders:
        unreadable: dict[Path, str] = {}
        sources = _sources(folder, unreadable)
        closed += [
            Scan(prefix + _case_name(_relative(path, folder)), (path,), fault) for path, fault in unreadable.items()
        ]
        named = _by_pattern(sources, patterns) if patterns else _by_number(sources, num_channels)
        for name, channel, path in named:
            found[prefix + _case_name(name)][channel].append(path)
        if not named and not unreadable:
            wanted = f" that fits {' or '.join(patterns)}" if patterns else ""
            raise UserError(
                f"{folder} holds no image and no DICOM series{wanted}. Expected files ending in "
                f"{', '.join(sorted(readable_endings()))}, or folders of DICOM slices."
            )
    spellings = defaultdict(list)
    for name in found:
        spellings[portable_key(name)].append(name)
    scans = [
        _scan(name, channels, num_channels, [other for other in spellings[portable_key(name)] if other != name])
        for name, channels in found.items()
    ]
    return sorted([*scans, *closed], key=lambda scan: scan.name)


def _case_name(text: str) -> str:
    return re.sub(r"[^\w.-]+", "_", text)


def _check_patterns(patterns: Sequence[str], num_channels: int) -> None:
    if len(patterns) != num_channels:
        raise UserError(
            f"--channels has {len(patterns)} pattern(s), but dataset.json names {num_channels} channel(s). Give one "
            "pattern for each channel, in the order of dataset.json."
        )
    if len(set(patterns)) < len(patterns):
        raise UserError(
            f"--channels {listing(patterns)}: a pattern is given twice, and its files would stand for two channels. "
            "Give each channel a pattern of its own."
        )
    if without := [pattern for pattern in patterns if "{case}" not in pattern]:
        raise UserError(
            f"--channels {listing(without)}: {{case}} is missing. Write it where the name of the case stands, such as "
            "{case}_t1.nii.gz."
        )


def readable_endings() -> tuple[str, ...]:
    """Return the file endings of the images that can be read, in lower case."""
    return (*image_endings(), ".nii", ".mhd")


def _sources(folder: Path, unreadable: dict[Path, str]) -> dict[str, Path]:
    """Return image files and folders of DICOM slices by their path relative to ``folder``.

    Folders and files that cannot be read go into ``unreadable`` with the reason.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder. Name the folder that holds the scans.")
    sources, series = {}, set()
    files = sorted(_visible_files(folder, unreadable))
    if folder in unreadable:
        raise UserError(f"{folder}: {unreadable[folder]}.")
    for path in files:
        try:
            if path.name.lower().endswith((*readable_endings(), *_OTHER_FORMATS)):
                if not _is_second_half(path):
                    sources[_relative(path, folder)] = path
            elif path.parent not in series and path.is_file() and _is_slice(path):
                series.add(path.parent)
        except OSError as error:
            unreadable[path] = _unreadable(error)
    sources |= {_relative(path, folder): path for path in series}
    return sources


def _relative(path: Path, folder: Path) -> str:
    """Return the path below ``folder``, or the name of the folder itself."""
    return path.relative_to(folder).as_posix() if path != folder else folder.resolve().name


def _unreadable(error: OSError) -> str:
    return f"it cannot be read ({error.strerror}); correct its permissions, or leave it out"


def _visible_files(folder: Path, unreadable: dict[Path, str]) -> Iterator[Path]:
    """Yield all files and broken links below a folder; links to folders are followed, each folder only once."""
    seen = set()

    def note(error: OSError) -> None:
        unreadable[Path(error.filename)] = _unreadable(error)

    for place, names, files in os.walk(folder, onerror=note, followlinks=True):
        real = os.path.realpath(place)
        names[:] = [] if real in seen else sorted(name for name in names if not name.startswith("."))
        if real not in seen:
            yield from (Path(place, name) for name in files if not name.startswith("."))
        seen.add(real)


def _is_second_half(path: Path) -> bool:
    """Tell whether a file holds the voxels of a header beside it, which stands for both."""
    ending = next((each for each in (".img", ".img.gz") if path.name.lower().endswith(each)), None)
    if ending is None:
        return False
    stem = path.name[: -len(ending)]
    return any(path.with_name(f"{stem}{each}").exists() for each in (".hdr", ".HDR"))


def _is_slice(path: Path) -> bool:
    if is_dicom(path):
        return True
    if path.suffix and not path.suffix[1:].isdigit():
        return False
    with path.open("rb") as file:  # scanners write slices without an ending, or name them by their number
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
    stems = {relative: _without_ending(relative) for relative in sources}
    numbered = {relative: match for relative, stem in stems.items() if (match := _CHANNEL.fullmatch(stem))}
    # With one channel, "scan_0007" is a scan of that name; only "_0000" throughout means nnU-Net's names.
    used = [stem for relative, stem in stems.items() if not relative.lower().endswith(_OTHER_FORMATS)]
    if num_channels == 1 and not all(stem.endswith("_0000") for stem in used):
        numbered = {}
    return [
        (numbered[relative][1], int(numbered[relative][2]), path)
        if relative in numbered
        else (stems[relative], 0, path)
        for relative, path in sources.items()
    ]


def _without_ending(relative: str) -> str:
    endings = (*readable_endings(), *_OTHER_FORMATS)
    ending = max((e for e in endings if relative.lower().endswith(e)), key=len, default="")
    return relative[: len(relative) - len(ending)]


def _scan(name: str, channels: dict[int, list[Path]], num_channels: int, twins: Sequence[str]) -> Scan:
    paths = tuple(path for channel in sorted(channels) for path in channels[channel])
    if doubled := [str(path) for found in channels.values() for path in found[1:]]:
        return Scan(
            name, paths, f"several scans get this name, the other one is {listing(doubled)}; rename one of them"
        )
    if len(set(paths)) < len(paths):
        return Scan(name, paths, "one file fits the patterns of several channels; correct --channels")
    if twins:
        return Scan(name, paths, f"another scan is named {listing(twins)}, the same {BUT_FOR_CASE}; rename one of them")
    if name.endswith(RESERVED_ENDING):
        fault = f"nnU-Net reserves names that end in {RESERVED_ENDING}; rename it, or leave it out if it is a mask"
        return Scan(name, paths, fault)
    if fault := next(filter(None, map(_fault, paths)), ""):
        return Scan(name, paths, fault)
    if sorted(channels) != list(range(num_channels)):
        return Scan(
            name,
            paths,
            f"channel(s) {', '.join(map(str, sorted(channels)))} found, {num_channels} expected; name the files "
            "CASE_0000, CASE_0001 and so on, or describe their names with --channels",
        )
    return Scan(name, paths)


def _fault(path: Path) -> str:
    """Return why a file is no image that can be read, as far as its name tells; empty if it may be one."""
    try:
        exists = path.exists()
    except OSError as error:  # names in a folder can be listed by more users than its files can be read by
        return f"{path.name}: {_unreadable(error)}"
    if not exists:
        return f"{path.name} is a broken link; restore its target or remove the link"
    if not path.is_dir() and not path.name.lower().endswith(readable_endings()):
        example = ".png" if path.name.lower().endswith(_PICTURES) else ".nii.gz"
        return f"{path.name} is in a format that is not read; convert it, for example to {example}"
    return ""

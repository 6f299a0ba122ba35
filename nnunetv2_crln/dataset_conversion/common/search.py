"""Finds the cases in the folders a user gives."""

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nnunetv2_crln.dataset_conversion.common.converted_case import SourceCase
from nnunetv2_crln.errors import UserError, listing


@dataclass
class Found:
    """What a search came up with.

    Attributes:
        candidates: Case name to all places that hold it; more than one is an error of that case.
        skipped: Reason to the files or folders left out for it.
        broken: Case name to the reason why it cannot be used.
    """

    candidates: dict[str, list[SourceCase]] = field(default_factory=lambda: defaultdict(list))
    skipped: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    broken: dict[str, str] = field(default_factory=dict)

    def settle(self) -> dict[str, SourceCase]:
        """One source for each case; a case found several times is broken."""
        for case, sources in self.candidates.items():
            if len(sources) > 1:
                places = listing(str(source.images[0]) for source in sources)
                self.broken[case] = f"found {len(sources)} times: {places}. Keep one of them."
        return {case: sources[0] for case, sources in self.candidates.items() if case not in self.broken}


def walk(folder: Path, unreadable: dict[Path, str]) -> Iterator[tuple[Path, list[str]]]:
    """All folders below a folder, each with its visible files, sorted.

    Args:
        folder: Where to start.
        unreadable: Receives the folders that could not be listed, with the reason.

    Raises:
        UserError: The folder itself does not exist or cannot be listed.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder. Give the folder of the downloaded data with -i (see --help).")
    for path, subfolders, names in os.walk(
        folder, followlinks=True, onerror=lambda error: unreadable.update({Path(error.filename): str(error.strerror)})
    ):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield Path(path), sorted(name for name in names if not name.startswith("."))
    if folder in unreadable:
        raise UserError(f"Cannot list {folder}: {unreadable[folder]}. Check its permissions.")

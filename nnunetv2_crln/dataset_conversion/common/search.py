"""Find the cases in the folders that the user names."""

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nnunetv2_crln.dataset_conversion.common.converted_case import SourceCase
from nnunetv2_crln.errors import UserError, did_you_mean_path, listing


@dataclass
class Found:
    """Result of a search.

    Attributes:
        candidates: All places that hold a case, by case name; more than one is an error of that case.
        skipped: Files or folders that were left out, by reason.
        broken: Reason why a case cannot be used, by case name.
    """

    candidates: dict[str, list[SourceCase]] = field(default_factory=lambda: defaultdict(list))
    skipped: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    broken: dict[str, str] = field(default_factory=dict)

    def unique_sources(self) -> dict[str, SourceCase]:
        """Return the one source of each case; mark cases that were found several times as broken."""
        for case, sources in self.candidates.items():
            if len(sources) > 1:
                places = listing(str(source.images[0]) for source in sources)
                self.broken[case] = f"found {len(sources)} times: {places}. Keep one of them."
        return {case: sources[0] for case, sources in self.candidates.items() if case not in self.broken}


def walk(folder: Path, unreadable: dict[Path, str]) -> Iterator[tuple[Path, list[str]]]:
    """Walk through a folder and all folders below it.

    Args:
        folder: Folder to start from.
        unreadable: Dictionary that receives folders that could not be listed, with the reason.

    Yields:
        Each folder with the sorted names of its visible files.

    Raises:
        UserError: The folder itself does not exist or cannot be listed.
    """
    if not folder.is_dir():
        raise UserError(
            f"{folder} is not a folder. Give the folder of the downloaded data with -i (see --help)."
            f"{did_you_mean_path(folder)}"
        )
    for path, subfolders, names in os.walk(
        folder, followlinks=True, onerror=lambda error: unreadable.update({Path(error.filename): str(error.strerror)})
    ):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield Path(path), sorted(name for name in names if not name.startswith("."))
    if folder in unreadable:
        raise UserError(f"Cannot list {folder}: {unreadable[folder]}. Check its permissions.")

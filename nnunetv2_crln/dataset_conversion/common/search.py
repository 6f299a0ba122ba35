"""Find the cases in the folders that the user names."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
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

    def walk(
        self, folders: Iterable[Path], cases_of: Callable[[Path], Iterable[str]] = lambda folder: (folder.name,)
    ) -> Iterator[tuple[Path, list[str]]]:
        """Walk through folders and all below them; what cannot be listed breaks the cases that it may hold.

        Args:
            folders: Folders to start from.
            cases_of: Returns the names of the cases that a folder may hold; by default its own name.

        Yields:
            Each folder with the sorted names of its visible files.

        Raises:
            UserError: One of ``folders`` does not exist or cannot be listed.
        """
        for folder in folders:
            unreadable: dict[Path, str] = {}
            yield from _walk(folder, unreadable)
            for path, reason in unreadable.items():
                text = f"cannot list {path}: {reason}. Check its permissions."
                self.broken |= dict.fromkeys(cases_of(path), text)

    def refuse_several_labels(self, case: str, labels: Sequence[Path]) -> None:
        """Mark a case as broken if it has more than one label.

        Args:
            case: Name of the case.
            labels: Paths of all labels of the case.
        """
        if len(labels) > 1:
            self.broken[case] = f"has {len(labels)} labels: {', '.join(map(str, labels))}. Keep one of them."

    def unique_sources(self) -> dict[str, SourceCase]:
        """Return the one source of each case; mark cases that were found several times as broken."""
        for case, sources in self.candidates.items():
            if len(sources) > 1:
                places = listing(str(source.images[0]) for source in sources)
                self.broken[case] = f"found {len(sources)} times: {places}. Keep one of them."
        return {case: sources[0] for case, sources in self.candidates.items() if case not in self.broken}


def _walk(folder: Path, unreadable: dict[Path, str]) -> Iterator[tuple[Path, list[str]]]:
    """Walk through a folder and all folders below it; ``unreadable`` receives those that could not be listed."""
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

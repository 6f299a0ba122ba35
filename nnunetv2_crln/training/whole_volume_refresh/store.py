"""Keep the results of refreshes in the folder of a fold, so that loader workers and a continued training read them."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.layout import CASE_RECORD, refresh_folder
from nnunetv2_crln.utilities.files import finished_file, remove_leftovers
from nnunetv2_crln.utilities.json_files import read_json, write_json


@dataclass(frozen=True)
class Decision:
    """Decision whether to refresh the cases after an epoch.

    Attributes:
        refreshed: They were refreshed; otherwise the epoch's turn was skipped.
        seconds: Time that it took.
    """

    refreshed: bool
    seconds: float = 0.0


@dataclass(frozen=True)
class RefreshFindings:
    """Findings of the teacher's prediction of a whole case; the prediction itself, which nothing uses, is not kept.

    Attributes:
        places: Coordinates of foreground by class, (N, 1 + ndim): channel 0 and the place in the grid.
        removed: Coordinates of removed components, (N, ndim).
        source: What the case was preprocessed from, by :func:`source_of`; empty if it is unknown.
    """

    places: dict[int, np.ndarray] = field(default_factory=dict)
    removed: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.int32))
    source: str = ""

    def fits(self, properties: Mapping[str, Any]) -> bool:
        """Return whether they are of this case as it is now, and not of a scan that was replaced since."""
        return not self.source or self.source == source_of(properties)


def source_of(properties: Mapping[str, Any]) -> str:
    """Return the record of the files and plans that a preprocessed case was made from, as text.

    Args:
        properties: Properties of the case.

    Returns:
        The record that preprocessing has left; empty without one.
    """
    return json.dumps(properties[CASE_RECORD], sort_keys=True) if CASE_RECORD in properties else ""


class RefreshStore:
    """Read and write refreshes: one folder each, with one compressed file per case, and one decision per epoch.

    Every file is complete or absent, and none is ever replaced, so that other processes may read at any time.

    Args:
        fold: ``.../fold_X``.
    """

    def __init__(self, fold: str | Path) -> None:
        self.folder = refresh_folder(fold)

    # ---------------------------------------------------------------- decisions

    def decision(self, epoch: int) -> Decision | None:
        """Return the decision after an epoch; None if there is none yet."""
        file = self._decision_file(epoch)
        return Decision(**read_json(file)) if file.is_file() else None

    def decisions(self) -> dict[int, Decision]:
        """Return all decisions by epoch, in their order."""
        return self._read(".json")

    def in_force(self, epoch: int) -> int | None:
        """Return the epoch of the refresh that is used in an epoch; None if there is none."""
        decisions = self.decisions().items()
        return max((number for number, found in decisions if found.refreshed and number < epoch), default=None)

    def decide(self, epoch: int, decision: Decision) -> None:
        """Record a decision.

        Args:
            epoch: Finished epoch, from 0.
            decision: The decision; the cases of a refresh must have been written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(vars(decision), self._decision_file(epoch))
        self._former_file(epoch).unlink(missing_ok=True)

    def former_decision(self, epoch: int) -> Decision | None:
        """Return what was decided after an epoch that is being repeated; None if it is not."""
        return self._read(".former.json").get(epoch)

    def repeat_from(self, epoch: int) -> None:
        """Set the decisions from an epoch on aside: a training continues there and will come to the others again."""
        for number in self.decisions():
            if number >= epoch:
                self._decision_file(number).replace(self._former_file(number))

    def _read(self, ending: str) -> dict[int, Decision]:
        files = {file.name.removesuffix(ending): file for file in sorted(self.folder.glob(f"epoch_*{ending}"))}
        numbers = {int(name.removeprefix("epoch_")): file for name, file in files.items() if name[6:].isdigit()}
        return {number: Decision(**read_json(file)) for number, file in numbers.items()}

    def _decision_file(self, epoch: int) -> Path:
        return self.folder / f"epoch_{epoch:05d}.json"

    def _former_file(self, epoch: int) -> Path:
        return self.folder / f"epoch_{epoch:05d}.former.json"

    # ---------------------------------------------------------------- cases

    def begin(self, epoch: int, digest: str) -> None:
        """Make the folder of a refresh; cases that a killed training predicted with the same weights stay in it.

        Args:
            epoch: Finished epoch, from 0.
            digest: Digest of the weights that predict.
        """
        folder, made_by = self.cases_folder(epoch), self.cases_folder(epoch) / "weights.json"
        if folder.is_dir() and not (made_by.is_file() and read_json(made_by) == digest):
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        write_json(digest, made_by)

    def cases_folder(self, epoch: int) -> Path:
        """Return the folder of the cases of a refresh."""
        return self.folder / f"epoch_{epoch:05d}"

    def has(self, epoch: int, case: str) -> bool:
        """Return whether a case has been written.

        Args:
            epoch: Epoch of the refresh.
            case: Name of the case.

        Returns:
            True if its file is there.
        """
        return self._case_file(epoch, case).is_file()

    def write(self, epoch: int, case: str, found: RefreshFindings) -> None:
        """Write a case, completely or not at all.

        Args:
            epoch: Epoch of the refresh.
            case: Name of the case.
            found: Findings to write.
        """
        arrays = {f"places_{number}": places for number, places in found.places.items()}
        with finished_file(self._case_file(epoch, case)) as temporary:
            np.savez_compressed(temporary, removed=found.removed, source=np.array(found.source), **arrays)  # type: ignore[arg-type]

    def read(self, epoch: int, case: str) -> RefreshFindings:
        """Read a case; one that has been added since the refresh has no places yet.

        Args:
            epoch: Epoch of the refresh.
            case: Name of the case.

        Returns:
            The findings.

        Raises:
            UserError: The file is damaged.
        """
        try:
            with np.load(self._case_file(epoch, case)) as arrays:
                places = {int(key[7:]): arrays[key] for key in arrays.files if key.startswith("places_")}
                source = str(arrays["source"]) if "source" in arrays.files else ""  # none in older versions
                return RefreshFindings(places, arrays["removed"], source)
        except FileNotFoundError:
            return RefreshFindings()
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(
                f"{self._case_file(epoch, case)}, the refresh of a case, is damaged. Remove it, then continue "
                "with nnUNetv2_train ... --c; the case has no foreground places until the next refresh."
            ) from error

    def _case_file(self, epoch: int, case: str) -> Path:
        return self.cases_folder(epoch) / f"{case}.npz"

    # ---------------------------------------------------------------- removal

    def remove_older_than(self, epoch: int) -> None:
        """Remove the cases of refreshes before an epoch; the decisions, which tell the time spent, stay."""
        for folder in self.folder.glob("epoch_*"):
            if folder.is_dir() and int(folder.name.removeprefix("epoch_")) < epoch:
                shutil.rmtree(folder)

    def clear(self) -> None:
        """Remove everything, of another training in the same folder."""
        if self.folder.is_dir():
            shutil.rmtree(self.folder)


def digest_of(weights: Mapping[str, Tensor]) -> str:
    """Compute a digest of a network's weights.

    Args:
        weights: The network's ``state_dict``.

    Returns:
        Hexadecimal text; equal for equal weights.
    """
    digest = hashlib.sha1(usedforsecurity=False)
    for name, tensor in weights.items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()

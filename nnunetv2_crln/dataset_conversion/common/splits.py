"""Read published splits of the datasets and decide which of their cases are labelled."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

from nnunetv2_crln.dataset_conversion.common.case_names import check_case_name, read_case_list
from nnunetv2_crln.dataset_conversion.common.roles import Role
from nnunetv2_crln.errors import UserError, listing
from nnunetv2_crln.layout import NUM_FOLDS
from nnunetv2_crln.utilities.names import portable_key


@dataclass(frozen=True)
class Split:
    """Case names in their published order.

    Attributes:
        source: Publication or file that the split comes from.
        train: Training cases; those of the first N patients are the labelled ones.
        validation: Labelled cases to monitor the training with; may be empty.
        test: Cases that are never trained on.
        patient: Pattern of the patient at the start of a case name, for data sets whose patients have several cases.
            Empty if every case is a patient of its own.
    """

    source: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    patient: str = ""

    def __post_init__(self) -> None:
        names = [*self.train, *self.validation, *self.test]
        for name in names:
            check_case_name(name, self.source)
        count = Counter(map(portable_key, names))
        twice = sorted({name for name in names if count[portable_key(name)] > 1})
        if twice:
            raise UserError(
                f"{len(twice)} case(s) occur twice in the split ({self.source}): {listing(twice)}. "
                "A case must be in only one of the lists, and names must not differ in upper and lower case alone: "
                "some file systems do not tell them apart."
            )
        sides = [set(self.patients(cases)) for cases in (self.train, self.validation, self.test)]
        shared = sorted((sides[0] & sides[1]) | (sides[0] & sides[2]) | (sides[1] & sides[2]))
        if shared:
            raise UserError(
                f"{len(shared)} patient(s) have cases in more than one list of the split ({self.source}): "
                f"{listing(shared)}. All cases of a patient must be in the same list."
            )

    def patient_of(self, case: str) -> str:
        """Return the patient of a case; the case itself if its name does not say."""
        match = re.match(self.patient, case) if self.patient else None
        return match[0] if match else case

    def patients(self, cases: Iterable[str]) -> list[str]:
        """Return the patients of some cases, each once, in their order."""
        return list(dict.fromkeys(map(self.patient_of, cases)))

    def roles(self, num_labelled: int) -> dict[str, Role]:
        """Return the role of every case, in the order of the lists.

        Args:
            num_labelled: Number of labelled patients: the first ones of the training cases, each with all its cases.

        Returns:
            Roles by case name.

        Raises:
            UserError: The split has too few training patients, so that none would be unlabelled.
        """
        patients = self.patients(self.train)
        if not 1 <= num_labelled < len(patients):
            raise UserError(
                f"--num_labelled is {num_labelled}, expected 1 to {len(patients) - 1}: the split "
                f"({self.source}) has {len(patients)} training {'patients' if self.patient else 'cases'}, and some "
                "have to be unlabelled."
            )
        labelled = set(patients[:num_labelled])
        roles = {case: Role.LABELLED if self.patient_of(case) in labelled else Role.UNLABELLED for case in self.train}
        roles |= dict.fromkeys(self.validation, Role.VALIDATION)
        return roles | dict.fromkeys(self.test, Role.TEST)

    def folds(self, labelled: Sequence[str], validation: Sequence[str]) -> list[dict[str, list[str]]]:
        """Make the folds that nnU-Net would not make itself.

        Fold 0 trains on all labelled cases and validates on the validation cases, if there are some. Where patients
        have several cases, a cross-validation over the labelled patients follows: nnU-Net's own draws single cases.

        Args:
            labelled: Labelled cases.
            validation: Validation cases.

        Returns:
            Content of ``splits_final.json``; empty where nnU-Net's own folds are right.
        """
        folds = [{"train": list(labelled), "val": list(validation)}] if validation else []
        patients = self.patients(labelled)
        if not self.patient or len(patients) < 2:
            return folds
        for first in range(min(NUM_FOLDS, len(patients))):
            held_out = set(patients[first::NUM_FOLDS])
            parts: dict[str, list[str]] = {"train": [], "val": []}
            for case in labelled:
                parts["val" if self.patient_of(case) in held_out else "train"].append(case)
            folds.append(parts)
        return folds


def published_split(name: str) -> Split:
    """Read a split that comes with this package, for example ``left_atrium``."""
    content = json.loads(
        (files("nnunetv2_crln.dataset_conversion") / "published_splits" / f"{name}.json").read_text(encoding="utf-8")
    )
    train, validation, test = (tuple(content[part]) for part in ("train", "validation", "test"))
    return Split(content["source"], train, validation, test, content.get("patient", ""))


def split_from_lists(published: Split, train: Path | None, validation: Path | None, test: Path | None) -> Split:
    """Replace parts of a published split by the user's own lists.

    Args:
        published: Published split.
        train: File with the names of the training cases; None keeps the published ones.
        validation: File with the names of the validation cases; None keeps the published ones.
        test: File with the names of the test cases; None keeps the published ones.

    Returns:
        The split.

    Raises:
        UserError: A list cannot be used, or a case is in several lists.
    """
    if not (train or validation or test):
        return published
    return replace(
        published,
        source=", ".join(str(path) for path in (train, validation, test) if path),
        train=tuple(read_case_list(train)) if train else published.train,
        validation=tuple(read_case_list(validation)) if validation else published.validation,
        test=tuple(read_case_list(test)) if test else published.test,
    )

"""Read published splits of the datasets and decide which of their cases are labelled."""

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from nnunetv2_crln.dataset_conversion.common.case_names import check_case_name, read_case_list
from nnunetv2_crln.dataset_conversion.common.roles import Role
from nnunetv2_crln.errors import UserError, listing


@dataclass(frozen=True)
class Split:
    """Case names in their published order.

    Attributes:
        source: Publication or file that the split comes from.
        train: Training cases; the first N are the labelled ones.
        validation: Labelled cases to monitor the training with; may be empty.
        test: Cases that are never trained on.
    """

    source: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def __post_init__(self) -> None:
        names = [*self.train, *self.validation, *self.test]
        for name in names:
            check_case_name(name, self.source)
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise UserError(
                f"{len(twice)} case(s) occur twice in the split ({self.source}): {listing(twice)}. "
                "A case must be in only one of the lists."
            )

    def roles(self, num_labelled: int) -> dict[str, Role]:
        """Return the role of every case, in the order of the lists.

        Raises:
            UserError: The split has too few training cases, so that none would be unlabelled.
        """
        if not 1 <= num_labelled < len(self.train):
            raise UserError(
                f"--num_labelled is {num_labelled}, expected 1 to {len(self.train) - 1}: the split "
                f"({self.source}) has {len(self.train)} training cases, and some have to be unlabelled."
            )
        roles = dict.fromkeys(self.train[:num_labelled], Role.LABELLED)
        roles |= dict.fromkeys(self.train[num_labelled:], Role.UNLABELLED)
        roles |= dict.fromkeys(self.validation, Role.VALIDATION)
        return roles | dict.fromkeys(self.test, Role.TEST)


def published_split(name: str) -> Split:
    """Read a split that comes with this package, for example ``left_atrium``."""
    content = json.loads(
        (files("nnunetv2_crln.dataset_conversion") / "published_splits" / f"{name}.json").read_text(encoding="utf-8")
    )
    return Split(content["source"], tuple(content["train"]), tuple(content["validation"]), tuple(content["test"]))


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
    return Split(
        ", ".join(str(path) for path in (train, validation, test) if path),
        tuple(read_case_list(train)) if train else published.train,
        tuple(read_case_list(validation)) if validation else published.validation,
        tuple(read_case_list(test)) if test else published.test,
    )

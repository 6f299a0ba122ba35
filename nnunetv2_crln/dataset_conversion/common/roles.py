"""Roles of cases and the folders they belong to."""

from enum import Enum

from nnunetv2_crln.layout import (
    IMAGES_LABELLED,
    IMAGES_TEST,
    IMAGES_UNLABELLED,
    LABELS_LABELLED,
    LABELS_TEST,
    LABELS_UNLABELLED,
)


class Role(Enum):
    """Role of a case; the value is the word shown to users."""

    LABELLED = "labelled"
    VALIDATION = "validation"
    UNLABELLED = "unlabelled"
    TEST = "test"

    @property
    def images(self) -> str:
        """Folder of the images. Validation cases share that of labelled ones; splits_final.json distinguishes them."""
        return {Role.UNLABELLED: IMAGES_UNLABELLED, Role.TEST: IMAGES_TEST}.get(self, IMAGES_LABELLED)

    @property
    def labels(self) -> str:
        """Folder of the labels. Those of unlabelled cases are hidden from training, for measuring only."""
        return {Role.UNLABELLED: LABELS_UNLABELLED, Role.TEST: LABELS_TEST}.get(self, LABELS_LABELLED)

    @property
    def needs_label(self) -> bool:
        """True if a case of this role is useless without a label."""
        return self in (Role.LABELLED, Role.VALIDATION)

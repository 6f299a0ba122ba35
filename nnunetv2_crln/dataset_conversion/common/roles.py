"""What a case is for, and the folders it therefore goes to."""

from enum import Enum

from nnunetv2_crln.layout import IMAGES_LABELLED, IMAGES_TEST, IMAGES_UNLABELLED, LABELS_UNLABELLED


class Role(Enum):
    """Role of a case; the value is the word shown to users."""

    LABELLED = "labelled"
    VALIDATION = "validation"
    UNLABELLED = "unlabelled"
    TEST = "test"

    @property
    def images(self) -> str:
        """Folder of the images. Validation cases lie beside the labelled ones; splits_final.json tells them apart."""
        return {Role.UNLABELLED: IMAGES_UNLABELLED, Role.TEST: IMAGES_TEST}.get(self, IMAGES_LABELLED)

    @property
    def labels(self) -> str:
        """Folder of the labels. Those of unlabelled cases are hidden from training, and only measure pseudo labels."""
        return {Role.UNLABELLED: LABELS_UNLABELLED, Role.TEST: "labelsTs"}.get(self, "labelsTr")

    @property
    def needs_label(self) -> bool:
        """Whether a case of this role is useless without a label."""
        return self in (Role.LABELLED, Role.VALIDATION)

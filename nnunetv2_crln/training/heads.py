"""The modules CRLN adds beside nnU-Net's network."""

from torch import nn

from nnunetv2_crln.modules.dim import DynamicInteractionModule
from nnunetv2_crln.modules.rectification import ConcatRectification, CorrectionParameter, FixedRectification
from nnunetv2_crln.modules.representation import RepresentationHead
from nnunetv2_crln.settings import CRLNSettings


class Heads(nn.Module):
    """DIM with its prototypes, and the representation head of CPS; each is None where the settings leave it out.

    Args:
        channels: (F2, F3, F4) of the tapped decoder features.
        num_classes: C, background included.
        ndim: Spatial dimensions.
        settings: Of CRLN.
    """

    def __init__(self, channels: tuple[int, int, int], num_classes: int, ndim: int, settings: CRLNSettings) -> None:
        super().__init__()
        quarter, half, full = channels
        self.dim = (
            DynamicInteractionModule(
                num_classes,
                settings.num_prototypes,
                (quarter, half),
                ndim,
                settings.aggregation,
                settings.spatial_awareness,
                settings.integration,
                settings.shared_classes,
            )
            if settings.dim
            else None
        )
        # Representations have the prototypes' dimension, so that the CPS positive can mix both (Eq. 13).
        self.representation = (
            RepresentationHead(full, quarter, ndim, settings.representation_kernel) if settings.cps else None
        )


def build_rectifier(num_classes: int, ndim: int, settings: CRLNSettings) -> nn.Module:
    """The rectification of Table 7 that the settings name; called with logits and relationship map."""
    if settings.rectification == "fixed":
        return FixedRectification(settings.confidence_threshold)
    if settings.rectification == "concat":
        return ConcatRectification(num_classes, ndim)
    return CorrectionParameter(settings.mu_initial)

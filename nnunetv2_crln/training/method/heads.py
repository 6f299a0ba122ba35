"""Build the modules that CRLN adds to nnU-Net's network."""

from collections.abc import Sequence

from torch import Tensor, nn

from nnunetv2_crln.modules.dim import DynamicInteractionModule
from nnunetv2_crln.modules.feature_taps import DecoderFeatures
from nnunetv2_crln.modules.rectification import (
    AgreementRectification,
    ConcatRectification,
    CorrectionParameter,
    FixedRectification,
    Rectification,
    SumRectification,
)
from nnunetv2_crln.modules.regions import RegionRectification, as_regions
from nnunetv2_crln.modules.representation import RepresentationHead
from nnunetv2_crln.settings import CRLNSettings
from nnunetv2_crln.training.method.image_prototypes import image_prototype_map, region_prototype_map


class Heads(nn.Module):
    """Hold the dynamic interaction module (DIM) and the representation head of Cooperative Positive Supervision (CPS).

    Each is None if the settings switch it off.

    Args:
        channels: Channels (F2, F3, F4) of the tapped decoder features.
        num_classes: Number of classes including background, C.
        ndim: Number of spatial dimensions, 2 or 3.
        settings: Hyper-parameters of CRLN.
        regions: The classes are regions; each has prototypes for outside and inside.
    """

    def __init__(
        self,
        channels: tuple[int, int, int],
        num_classes: int,
        ndim: int,
        settings: CRLNSettings,
        regions: bool = False,
    ) -> None:
        super().__init__()
        quarter, half, full = channels
        self.regions = regions
        self.image_prototypes = chosen_rectification(settings, num_classes, regions) == "image"
        self.dim = (
            DynamicInteractionModule(
                2 * num_classes if regions else num_classes,
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
        # Representations have as many channels as prototypes, so that the positive of CPS can mix both (Eq. 13).
        self.representation = (
            RepresentationHead(full, quarter, ndim, settings.representation_kernel) if settings.cps else None
        )

    def second_opinion(self, logits: Tensor, features: DecoderFeatures) -> Tensor | None:
        """Compute the map that rectifies pseudo labels: M, or that of the image's own prototypes.

        Args:
            logits: Logits of B patches, (B, C, *grid).
            features: Decoder features of the same network for them.

        Returns:
            Map, (B, C, *grid), or None without a DIM.
        """
        if self.dim is None or not self.image_prototypes:
            return self.relationship_map(features, logits.shape[2:], detach=True)
        return (region_prototype_map if self.regions else image_prototype_map)(logits, features)

    def relationship_map(self, features: DecoderFeatures, size: Sequence[int], detach: bool) -> Tensor | None:
        """Compute the relationship map M (Eq. 7) from tapped features.

        Args:
            features: Decoder features of B patches.
            size: Size of the output grid in voxels.
            detach: Keep the gradient out of the network that computed the features.

        Returns:
            Relationship map, (B, C, *size), or None without a DIM. Gradients reach the heads and, unless detached, the
            features.
        """
        if self.dim is None:
            return None
        quarter, half = features.quarter, features.half
        if detach:
            quarter, half = quarter.detach(), half.detach()
        classes = self.dim(quarter, half, size)
        if not self.regions:
            return classes
        return as_regions(classes.unflatten(1, (-1, 2)).flatten(0, 1), classes.shape[1] // 2)


def chosen_rectification(settings: CRLNSettings, num_classes: int, regions: bool) -> str:
    """Resolve ``"rectification": "auto"``.

    Image prototypes tell structures apart. A single structure, as each region is by itself, has only background beside
    it, which is of many kinds, and trainings whose pseudo labels were judged by one prototype of it ended below the
    mean teacher, with the default weight of CPS.

    Args:
        settings: Hyper-parameters of CRLN.
        num_classes: Number of classes including background, or of regions.
        regions: The classes are regions.

    Returns:
        The setting; for ``"auto"``, ``"image"`` with several foreground classes, and ``"fixed"`` with one or regions.
    """
    if settings.rectification != "auto":
        return settings.rectification
    several = num_classes > 2 and not regions  # one is the background
    return "image" if several else "fixed"


def build_rectifier(num_classes: int, ndim: int, settings: CRLNSettings, regions: bool = False) -> Rectification:
    """Build the rectification that the settings choose.

    Args:
        num_classes: Number of classes including background, C.
        ndim: Number of spatial dimensions, 2 or 3.
        settings: Hyper-parameters of CRLN.
        regions: The classes are regions; each is rectified as a problem of two classes.

    Returns:
        Module that maps logits and relationship map, both (B, C, *grid), to rectified logits.
    """
    chosen = chosen_rectification(settings, num_classes, regions)
    if regions:
        return RegionRectification(_rectification(chosen, 2, ndim, settings))
    return _rectification(chosen, num_classes, ndim, settings)


def _rectification(chosen: str, num_classes: int, ndim: int, settings: CRLNSettings) -> Rectification:
    if chosen == "fixed":
        return FixedRectification(settings.confidence_threshold)
    if chosen == "concat":
        return ConcatRectification(num_classes, ndim)
    if chosen == "image":
        return SumRectification()
    if chosen == "agreement":
        return AgreementRectification(settings.disagreement_weight)
    return CorrectionParameter(settings.mu_initial)

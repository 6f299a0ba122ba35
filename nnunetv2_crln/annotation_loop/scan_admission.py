"""Decide whether a scan may join the unlabelled cases of a dataset."""

from __future__ import annotations

from nnunetv2_crln.annotation_loop.known_images import Reports
from nnunetv2_crln.layout import IMAGES_LABELLED, IMAGES_UNLABELLED
from nnunetv2_crln.raw_dataset.image_rules import (
    SPACING_FACTOR,
    CaseReports,
    axes_with_odd_spacing,
    differs_in_dimension,
    has_valid_geometry,
    is_flat,
    number_of_channels_in,
    resembles_a_label,
    share_a_grid,
    share_directions,
)
from nnunetv2_crln.utilities.names import BUT_FOR_CASE, portable_key

ADDED, PRESENT, REFUSED = "added", "already there", "refused"


class ScanAdmission:
    """Decide about one scan after the other, taking the accepted ones into account.

    Args:
        known: Descriptions of the images in the dataset.
        num_channels: Number of channels of the dataset.
    """

    def __init__(self, known: Reports, num_channels: int) -> None:
        self._names = {portable_key(name.split("/", 1)[1]): name for name in known}
        self._by_content = {_content(reports): name for name, reports in known.items()}
        self._digests = {name: _content(reports) for name, reports in known.items()}
        self._labelled = [reports for name, reports in known.items() if name.startswith(f"{IMAGES_LABELLED}/")]
        self._channels = num_channels

    def decide(self, scan: str, reports: CaseReports) -> tuple[str, str]:
        """Decide about one scan.

        Args:
            scan: Name of the scan.
            reports: Descriptions of its files.

        Returns:
            :data:`ADDED`, :data:`PRESENT` or :data:`REFUSED`, and the reason.
        """
        if fault := self._fault(reports):
            return REFUSED, fault
        content = _content(reports)
        if (twin := self._by_content.get(content)) is not None:
            if twin.startswith(f"{IMAGES_UNLABELLED}/"):
                return PRESENT, f"the same voxels as {twin}"
            return REFUSED, f"the same voxels as {twin}: a scan must not be unlabelled and labelled or test at once"
        name = f"{IMAGES_UNLABELLED}/{scan}"
        namesake = self._names.get(portable_key(scan))
        if namesake is not None and not (namesake == name and self._unfinished(name, content)):
            same = "this name" if namesake.endswith(f"/{scan}") else f"this name, {BUT_FOR_CASE},"
            return REFUSED, f"{namesake} has {same} and other voxels; give new names with --prefix"
        self._names[portable_key(scan)] = name
        self._by_content[content] = name
        return ADDED, name

    def _unfinished(self, name: str, content: tuple[str, ...]) -> bool:
        """Check whether an interrupted run has added some channels of this very scan."""
        present = self._digests.get(name, ())
        return 0 < len(present) < len(content) and present == content[: len(present)]

    def _fault(self, reports: CaseReports) -> str:
        """Return the fault in the voxels or the geometry of a scan; empty if there is none."""
        if (channels := number_of_channels_in(reports)) != self._channels:
            return f"{channels} channel(s) in its files, {self._channels} expected"
        if not all(report.finite for report in reports):
            return "it has NaN or infinite voxels"
        if any(report.overflows for report in reports):
            return "it has values too large to normalise, which often mark missing data; replace them"
        if all(report.constant for report in reports):
            return "all its voxels are equal"
        if resembles_a_label(reports, self._labelled):
            return (
                "it has few different values, unlike the labelled scans; if it is a label, name the folder of the "
                "images instead (nnUNetv2_crln_add_labels takes labels of cases that are in imagesUl)"
            )
        if not all(map(has_valid_geometry, reports)):
            return "its spacing, origin or direction is not valid; correct its header"
        if not share_a_grid(reports):
            return "its channels differ in shape or spacing; resample them to one grid"
        if not share_directions(reports):
            return "its channels point in different directions; bring them into one orientation"
        if differs_in_dimension(reports, self._labelled):
            return f"it is a {'2D' if is_flat(reports) else '3D'} image, the labelled ones are not"
        return self._spacing_fault(reports)

    def _spacing_fault(self, reports: CaseReports) -> str:
        spacing, axes = reports[0].spacing, len(self._labelled[0][0].spacing)
        if len(spacing) != axes:
            return f"its spacing has {len(spacing)} numbers, that of the labelled scans {axes}"
        if axes_with_odd_spacing(reports[0], self._labelled).all():
            return f"its spacing {spacing} mm is {SPACING_FACTOR} times off that of every labelled scan"
        return ""


def _content(reports: CaseReports) -> tuple[str, ...]:
    return tuple(report.digest for report in reports)

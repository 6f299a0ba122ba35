"""Check the images of a raw dataset before any long work; labels are never opened here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from nnunetv2_crln.errors import UserError, listing
from nnunetv2_crln.layout import IMAGES_LABELLED, IMAGES_UNLABELLED
from nnunetv2_crln.raw_dataset.image_rules import (
    SPACING_FACTOR,
    axes_with_odd_spacing,
    differs_in_dimension,
    has_valid_geometry,
    is_flat,
    number_of_channels_in,
    resembles_a_label,
    share_a_grid,
    share_directions,
)
from nnunetv2_crln.raw_dataset.survey import ChannelReport, Survey, short_name
from nnunetv2_crln.utilities.nifti import find_header_fault


def leaks(groups: list[list[str]]) -> list[list[str]]:
    """Select the groups of :meth:`Survey.duplicates` that span several folders, such as imagesTs and imagesUl."""
    return [group for group in groups if len({name.split("/")[0] for name in group}) > 1]


def verify_images(raw_dataset_folder: str | Path, processes: int = 1, show_progress: bool = True) -> list[str]:
    """Open every image of a dataset and check it (``--verify_dataset_integrity``).

    Args:
        raw_dataset_folder: ``nnUNet_raw/DatasetXXX_Name``, already checked by ``check_dataset``.
        processes: Number of processes that read images.
        show_progress: Show a progress bar.

    Returns:
        Warnings for the user.

    Raises:
        UserError: Images are wrong; the message has one paragraph per kind of error.
    """
    survey = Survey(raw_dataset_folder, processes, show_progress)
    errors = [*image_faults(survey), *_leaking(survey)]
    if errors:
        raise UserError(f"{survey.folder} has {len(errors)} kind(s) of error:\n" + "\n".join(f"- {e}" for e in errors))
    return [*image_oddities(survey), *_repeated(survey)]


def image_faults(survey: Survey) -> list[str]:
    """Return what is wrong with single images, one text for each kind; duplicates are another matter."""
    return [*_unreadable(survey), *_broken_voxels(survey), *_broken_geometry(survey)]


def image_oddities(survey: Survey) -> list[str]:
    """Return what may be wrong with single images, one text for each kind."""
    return [*_odd_voxels(survey), *_odd_geometry(survey)]


def _unreadable(survey: Survey) -> Iterator[str]:
    if survey.unreadable:
        texts = [f"{name.split('/')[0]}/{error}" for name, error in sorted(survey.unreadable.items())]
        yield f"{len(texts)} unreadable case(s): {listing(texts)}. Copy these files again, or remove the cases."


def _broken_voxels(survey: Survey) -> Iterator[str]:
    infinite = [short_name(r) for reports in survey.reports.values() for r in reports if not r.finite]
    if infinite:
        yield (
            f"{len(infinite)} image(s) with NaN or infinite voxels: {listing(infinite)}. "
            "Replace these voxels, for example by the intensity of air, or remove the cases."
        )
    overflowing = [
        f"{short_name(r)} ({r.lowest:.3g} to {r.highest:.3g})"
        for reports in survey.reports.values()
        for r in reports
        if r.overflows
    ]
    if overflowing:
        yield (
            f"{len(overflowing)} image(s) with values too large to normalise: {listing(overflowing)}. They would "
            "become NaN. Such values often mark missing data: replace these voxels, for example by that of air."
        )
    counts = {name: number_of_channels_in(reports) for name, reports in survey.reports.items()}
    miscounted = [name for name, count in counts.items() if count != survey.channels]
    if miscounted:
        found = Counter(counts[name] for name in miscounted).most_common(1)[0][0]
        several = [r for name in miscounted for r in survey.reports[name] if r.shape[0] > 1]
        yield (
            f"{len(miscounted)} case(s) with another number of channels (mostly {found}) than the {survey.channels} of "
            f"dataset.json: {listing(miscounted)}. "
            f"{_how_to_split(several[0]) if several else 'Add the missing files, or correct dataset.json.'}"
        )


def _how_to_split(report: ChannelReport) -> str:
    """Say what to do with a file that holds several channels."""
    name, number = short_name(report), report.shape[0]
    if name.lower().endswith((".png", ".bmp")):
        if number == 4:
            return (
                f"{name} has transparency (RGBA, 4 channels), which other programs hide: save such images without it, "
                "for example with ImageMagick: mogrify -alpha off FILES."
            )
        return f"{name} is a colour image: name its {number} channels in dataset.json, or convert such images to grey."
    return (
        f"{name} is a 4D image ({' × '.join(map(str, report.shape))}), expected a 3D one with one value per voxel. "
        "Split time series and multi-channel files into one 3D file per channel, CASE_0000 and so on, for example with "
        "nibabel.four_to_three."
    )


def _broken_geometry(survey: Survey) -> Iterator[str]:
    unknown = [short_name(r) for reports in survey.reports.values() for r in reports if not has_valid_geometry(r)]
    if unknown:
        causes = {find_header_fault(survey.folder / name) for name in unknown[:1]} - {None}
        yield (
            f"{len(unknown)} image(s) without valid spacing, origin or direction: {listing(unknown)}"
            f"{'; '.join(['', *map(str, causes)])}. Correct the headers."
        )
    valid = {name: r for name, r in survey.reports.items() if all(map(has_valid_geometry, r))}
    if mismatch := [name for name, reports in valid.items() if not share_a_grid(reports)]:
        yield (
            f"{len(mismatch)} case(s) whose channels differ in shape or spacing: {listing(mismatch)}. "
            "Resample all channels of a case to the same grid."
        )
    if turned := [name for name, reports in valid.items() if not share_directions(reports)]:
        yield (
            f"{len(turned)} case(s) whose channels point in different directions: {listing(turned)}. nnU-Net stacks "
            "the voxels as they are: bring all channels of a case into one orientation."
        )
    labelled = list(survey.of(IMAGES_LABELLED).values())
    unlabelled = survey.of(IMAGES_UNLABELLED)
    if other := [name for name, reports in unlabelled.items() if differs_in_dimension(reports, labelled)]:
        found, expected = ("2D", "3D") if is_flat(unlabelled[other[0]]) else ("3D", "2D")
        yield (
            f"{len(other)} {found} image(s) in {IMAGES_UNLABELLED}, although all labelled ones are {expected}: "
            f"{listing(other)}. Convert them to {expected} images, or remove them."
        )
    if scaled := _with_spacing_off(survey, np.all):
        yield (
            f"{len(scaled)} unlabelled image(s) with a spacing {SPACING_FACTOR} times off the labelled ones in every "
            f"axis (labelled median {_mm(_median_spacing(survey))}): {listing(scaled)}. Their headers probably use "
            "another unit or lost the spacing: correct the headers."
        )


def _leaking(survey: Survey) -> Iterator[str]:
    groups = [" = ".join(group) for group in leaks(survey.duplicates())]
    if groups:
        yield (
            f"{len(groups)} image(s) are in several folders, possibly under other names: {listing(groups)}. "
            "Scores on such cases would be too good: keep each image in one folder only."
        )


def _odd_voxels(survey: Survey) -> Iterator[str]:
    constant = [short_name(report) for reports in survey.reports.values() for report in reports if report.constant]
    if constant:
        yield (
            f"{len(constant)} constant image(s), nothing can be learned from them: {listing(constant)}. Export them "
            "again, or remove the cases."
        )
    labelled = list(survey.of(IMAGES_LABELLED).values())
    unlabelled = survey.of(IMAGES_UNLABELLED)
    if labels := [name for name, reports in unlabelled.items() if resembles_a_label(reports, labelled)]:
        yield (
            f"{len(labels)} unlabelled image(s) with few different values, unlike the labelled ones: "
            f"{listing(labels)}. If they are labels, put the image of each case in their place, and the label into "
            "labelsUl, where it only serves to measure pseudo labels; or move image and label to imagesTr and labelsTr."
        )


def _odd_geometry(survey: Survey) -> Iterator[str]:
    moved = [
        name
        for name, reports in survey.reports.items()
        if not all(np.allclose(report.placement, reports[0].placement, atol=1e-3) for report in reports)
    ]
    if moved:
        yield (
            f"{len(moved)} case(s) whose channels differ in origin or direction: {listing(moved)}. nnU-Net ignores "
            "that and stacks the voxels: make sure that the channels overlap."
        )
    if odd := _with_spacing_off(survey, np.any):
        yield (
            f"{len(odd)} unlabelled image(s) with an axis whose spacing is {SPACING_FACTOR} times off the labelled "
            f"ones (labelled median {_mm(_median_spacing(survey))}): {listing(odd)}. Check their headers."
        )


def _repeated(survey: Survey) -> Iterator[str]:
    groups = [" = ".join(group) for group in survey.duplicates()]
    if groups:
        yield f"{len(groups)} image(s) are in one folder more than once: {listing(groups)}."


def _median_spacing(survey: Survey) -> np.ndarray:
    return np.median([reports[0].spacing for reports in survey.of(IMAGES_LABELLED).values()], axis=0)


def _with_spacing_off(survey: Survey, axes: Callable[[np.ndarray], np.bool_]) -> list[str]:
    labelled = list(survey.of(IMAGES_LABELLED).values())
    return [
        f"{name} {_mm(reports[0].spacing)}"
        for name, reports in survey.of(IMAGES_UNLABELLED).items()
        if axes(axes_with_odd_spacing(reports[0], labelled))
    ]


def _mm(spacing: Iterable[float]) -> str:
    return "(" + " × ".join(f"{value:.4g}" for value in spacing) + " mm)"

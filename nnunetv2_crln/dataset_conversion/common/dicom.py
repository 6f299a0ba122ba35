"""Read the one DICOM series of a folder and detect missing slices."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.raw_dataset.read_errors import last_line

POSITION, ORIENTATION, MODALITY = "0020|0032", "0020|0037", "0008|0060"
# Tolerated relative deviation: positions have few decimals, but a missing slice doubles a distance.
UNEVENNESS = 0.1


def is_dicom(path: Path) -> bool:
    """Check whether a file name has a DICOM ending."""
    return path.suffix.lower() in (".dcm", ".dicom", ".ima")


def read_series(folder: Path, modality: str = "") -> sitk.Image:
    """Read a DICOM series as a volume; CT is in Hounsfield units.

    Args:
        folder: Folder of the slices.
        modality: Modality that the series must have if it names one, such as ``CT``; empty if any will do.

    Returns:
        The volume, without names and dates of the patient.

    Raises:
        UserError: The folder holds no series or more than one, or one of another modality, or a slice is missing,
            duplicated or damaged.
    """
    reader = sitk.ImageSeriesReader()
    names = _one_series(folder, reader)
    reader.SetFileNames(names)
    reader.MetaDataDictionaryArrayUpdateOn()
    try:
        volume = reader.Execute()
    except RuntimeError as error:
        raise UserError(
            f"Cannot read the DICOM series in {folder}: a slice is truncated, damaged or of another size "
            f"({last_line(error)}). Download the series again."
        ) from error
    _check_modality(reader, len(names), folder, modality)
    _check_slices(reader, names, folder)
    # Keep only what nnU-Net's file formats keep: positions, but not names and dates of patients.
    for key in volume.GetMetaDataKeys():
        volume.EraseMetaData(key)
    return volume


def _one_series(folder: Path, reader: sitk.ImageSeriesReader) -> tuple[str, ...]:
    series = {
        identifier: reader.GetGDCMSeriesFileNames(str(folder), identifier)
        for identifier in reader.GetGDCMSeriesIDs(str(folder))
    }
    if len(series) != 1:
        sizes = ", ".join(f"{identifier} ({len(names)} files)" for identifier, names in series.items())
        raise UserError(
            f"{folder} holds {len(series)} DICOM series{': ' + sizes if series else ''}. "
            "Expected the slices of exactly one series: move the others away."
        )
    (names,) = series.values()
    damaged = sorted({path.name for path in folder.iterdir() if is_dicom(path)} - {Path(name).name for name in names})
    if damaged:
        raise UserError(
            f"{folder} holds {len(damaged)} file(s) that are not readable slices of the series, such as {damaged[0]}. "
            "They are truncated or of another kind: download the series again, or move them away."
        )
    return names


def _check_modality(reader: sitk.ImageSeriesReader, slices: int, folder: Path, expected: str) -> None:
    """Refuse another modality than the expected one; slices that name none pass."""
    named = [reader.GetMetaData(i, MODALITY).strip() for i in range(slices) if reader.HasMetaDataKey(i, MODALITY)]
    if others := sorted({modality for modality in named if modality and expected and modality != expected}):
        raise UserError(
            f"{folder} holds a series of the modality {', '.join(others)} (DICOM's 0008,0060), expected {expected}: "
            "leave it out, or name the folder of the right series."
        )


def _check_slices(reader: sitk.ImageSeriesReader, names: tuple[str, ...], folder: Path) -> None:
    def numbers(index: int, key: str) -> np.ndarray:
        if not reader.HasMetaDataKey(index, key):
            raise UserError(
                f"{names[index]} has no slice position or orientation. Expected a series with both in every slice."
            )
        return np.array([float(number) for number in reader.GetMetaData(index, key).split("\\")])

    if len(names) < 2:
        raise UserError(
            f"{folder} holds a single file. Expected one file for each slice: download the series again, or convert "
            "a file with many slices (multi-frame), for example with dcm2niix to .nii.gz."
        )
    directions = np.array([numbers(index, ORIENTATION) for index in range(len(names))])
    if not np.allclose(directions, directions[0], atol=1e-3):
        raise UserError(f"The slices in {folder} have different orientations: they belong to several scans.")
    normal = np.cross(directions[0, :3], directions[0, 3:])
    places = np.array([numbers(index, POSITION) for index in range(len(names))]) @ normal
    steps = np.diff(places)
    usual = np.median(np.abs(steps))
    odd = np.flatnonzero(np.abs(np.abs(steps) - usual) > UNEVENNESS * usual)
    if usual == 0 or odd.size:
        where = int(odd[0]) if odd.size else 0
        raise UserError(
            f"Slices of {folder} are missing or doubled: {odd.size} gap(s) differ from the usual {usual:.4g} mm, the "
            f"first, {abs(steps[where]):.4g} mm, between {Path(names[where]).name} and {Path(names[where + 1]).name}. "
            "Download the series again."
        )

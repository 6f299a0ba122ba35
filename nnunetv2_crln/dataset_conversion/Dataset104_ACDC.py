"""Convert ACDC (Automated Cardiac Diagnosis Challenge 2017), with the split and protocols of SSL4MIS."""

import argparse
import os
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nnunetv2_crln.dataset_conversion.common.command import build_parser, convert_dataset
from nnunetv2_crln.dataset_conversion.common.converted_case import ConvertedCase, SourceCase, check_scan, recoded
from nnunetv2_crln.dataset_conversion.common.converter import Conversion
from nnunetv2_crln.dataset_conversion.common.image_files import read_image
from nnunetv2_crln.dataset_conversion.common.orientation import align_label
from nnunetv2_crln.dataset_conversion.common.search import Found
from nnunetv2_crln.dataset_conversion.common.splits import published_split
from nnunetv2_crln.errors import UserError

DESCRIPTION = """\
Convert ACDC (Automated Cardiac Diagnosis Challenge 2017) for semi-supervised training.

Get the data from https://www.creatis.insa-lyon.fr/Challenge/acdc/ (registration). Give the folder that holds it, at any
depth, or several. Two layouts are known:
  .../training/patientXXX/patientXXX_frameYY.nii.gz      the challenge's; YY counts the frames of the cine series
                          patientXXX_frameYY_gt.nii.gz   label: 1 right ventricle, 2 myocardium, 3 left ventricle
                          Info.cfg                       says which frames are end-diastole (ED) and end-systole (ES)
  .../images/patientXXX_frame01.nii.gz, _frame02         as circulated for semi-supervised benchmarks; any folder name
  .../labels/patientXXX_frame01.nii.gz, _frame02         labels: the folder must be named labels
The 4D series (patientXXX_4d.nii.gz) is not used.

Each patient gives two cases, as the circulated files name them: patientXXX_frame01 is the end-diastole,
patientXXX_frame02 the end-systole. Where Info.cfg is missing, the earlier frame is taken for the end-diastole. Both
cases of a patient stay together; --num_labelled and the protocols count patients.

Of the split of 70 / 10 / 20 patients, the first N training patients are labelled, and the 10 validation patients are
fold 0's validation set (splits_final.json): train with fold 0. The folds after it are a cross-validation over the
labelled patients. Fold "all" would train on the validation cases too.

Protocols: --num_labelled 1, 3, 7 or 14 (of 70 patients); 20 test patients. The challenge's own test patients (101 to
150) are not in the split.
Writes nnUNet_raw/Dataset104_ACDC, and splits_final.json into nnUNet_preprocessed as well.
"""
PATIENT = re.compile(r"patient\d{3}")
FILE = re.compile(rf"({PATIENT.pattern})_frame(\d{{2}})(_gt)?\.nii(?:\.gz)?")
LABEL_FOLDER = "labels"
INFO = "Info.cfg"
PHASE = re.compile(r"^(ED|ES)\s*:\s*(\d+)\s*$", re.MULTILINE)
CLASSES = ("background", "right ventricle", "myocardium", "left ventricle")


@dataclass
class Volumes:
    """Files of all patients, by the number of the frame.

    Attributes:
        images: Images by folder and patient: each folder numbers its frames in its own way.
        labels: Labels by patient and frame.
    """

    images: dict[tuple[Path, str], dict[int, list[Path]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    labels: dict[tuple[str, int], list[Path]] = field(default_factory=lambda: defaultdict(list))

    def add(self, folder: Path, names: Sequence[str]) -> None:
        """Sort the files of one folder into images and labels.

        Args:
            folder: The folder.
            names: Names of the files in it.
        """
        only_labels = Path(os.path.abspath(folder)).name == LABEL_FOLDER
        for match in filter(None, map(FILE.fullmatch, names)):
            patient, frame = match[1], int(match[2])
            if match[3] or only_labels:
                self.labels[patient, frame].append(folder / match[0])
            else:
                self.images[folder, patient][frame].append(folder / match[0])


def find(options: argparse.Namespace) -> Found:
    """Find both phases of all patients below the given folders."""
    found, volumes = Found(), Volumes()
    for path, names in found.walk(options.i, _cases_in):
        volumes.add(path, names)
    for (folder, patient), frames in volumes.images.items():
        _add_patient(found, folder, patient, frames, volumes.labels)
    with_image = {(patient, frame) for (_, patient), frames in volumes.images.items() for frame in frames}
    for key in volumes.labels.keys() - with_image:
        found.skipped["label without image"] += map(str, volumes.labels[key])
    return found


def _cases_in(folder: Path) -> tuple[str, ...]:
    return _cases_of(folder.name) if PATIENT.fullmatch(folder.name) else (folder.name,)


def _cases_of(patient: str) -> tuple[str, str]:
    return f"{patient}_frame01", f"{patient}_frame02"


def _add_patient(
    found: Found,
    folder: Path,
    patient: str,
    frames: dict[int, list[Path]],
    labels: dict[tuple[str, int], list[Path]],
) -> None:
    cases = _cases_of(patient)
    try:
        phases = _phases(folder, patient, sorted(frames))
    except UserError as error:
        found.broken |= dict.fromkeys(cases, str(error))
        return
    for frame, paths in frames.items():
        if frame not in phases:
            found.skipped[f"frame that {INFO} does not name"] += map(str, paths)
            continue
        case, own_labels = cases[phases.index(frame)], labels.get((patient, frame), [])
        found.candidates[case] += [SourceCase((path,), next(iter(own_labels), None)) for path in paths]
        found.refuse_several_labels(case, own_labels)


def _phases(folder: Path, patient: str, frames: list[int]) -> list[int]:
    """Return the numbers of the frames at end-diastole and at end-systole."""
    if (folder / INFO).is_file():
        return _phases_of(folder / INFO)
    if set(frames) <= {1, 2}:
        return [1, 2]
    if len(frames) == 2:
        return frames
    raise UserError(
        f"{folder} has frame(s) {', '.join(map(str, frames))} of {patient} and no {INFO} that says which are the two "
        "phases. Download the patient again."
    )


def _phases_of(info: Path) -> list[int]:
    try:
        text = info.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UserError(f"Cannot read {info}: {error.strerror}. Check its permissions.") from error
    frames = {phase: int(frame) for phase, frame in PHASE.findall(text)}
    if len(set(frames.values())) != 2:
        raise UserError(f"{info} does not name two frames. Expected lines such as 'ED: 1' and 'ES: 12'.")
    return [frames["ED"], frames["ES"]]


def read(source: SourceCase, options: dict[str, Any]) -> ConvertedCase:
    """Read one phase of a patient and its label.

    Args:
        source: Files of the case.
        options: Options of the conversion; none of them concerns reading.

    Returns:
        The case in memory.

    Raises:
        UserError: The files cannot be used.
    """
    (path,) = source.images
    scan = check_scan(read_image(path), path)
    if source.label is None:
        return ConvertedCase((scan,), None)
    label, notes = align_label(read_image(source.label), scan, source.label)
    return ConvertedCase((scan,), recoded(label, {value: value for value in range(len(CLASSES))}, source.label), notes)


def make_conversion(options: argparse.Namespace) -> Conversion:
    """Return the conversion of this dataset."""
    return Conversion(
        channels=("cine_MRI",),
        labels=CLASSES,
        read=read,
        about={
            "description": "Ventricles and myocardium in short-axis cine MRI, Automated Cardiac Diagnosis Challenge",
            "reference": "Bernard et al., IEEE Transactions on Medical Imaging 37 (2018) 2514-2525",
        },
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the conversion."""
    parser = build_parser(DESCRIPTION, 104, "ACDC", 3, counted="patients")
    convert_dataset(parser, arguments, published_split("acdc"), find, make_conversion)


if __name__ == "__main__":
    main()

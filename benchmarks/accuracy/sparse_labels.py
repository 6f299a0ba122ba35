"""Make a partly labelled dataset out of a labelled one, to measure what its ignored voxels are worth.

A few training cases keep every fifth slice of their labels, or short scribbles; everything else carries nnU-Net's
ignore label. Validation cases keep their whole labels. Then compare nnU-Net's own training and this package's:

    python benchmarks/accuracy/sparse_labels.py -d 4 -o 504 --keep slices --num_labelled 8 --seed 0
    nnUNetv2_crln_plan_and_preprocess -d 504 -c 3d_fullres
    nnUNetv2_crln_compare -d 504 -c 3d_fullres --methods supervised crln --epochs 4
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.layout import SPLITS_FILE
from nnunetv2_crln.raw_dataset.cases import find_labelled_cases
from nnunetv2_crln.raw_dataset.dataset_json import read_dataset_json
from nnunetv2_crln.raw_dataset.folders import dataset_folder_name, find_dataset, raw_root, refuse_other_names
from nnunetv2_crln.utilities.files import write_json
from nnunetv2_crln.utilities.run_command import run

EVERY = 5
STEPS = 20
"""Voxels of a scribble, at most."""


def keep_slices(labels: np.ndarray, ignore: int, axis: int) -> np.ndarray:
    """Keep every fifth slice; all other voxels are ignored.

    Args:
        labels: Label map, three axes.
        ignore: Value of ignored voxels.
        axis: To cut across.

    Returns:
        Sparse label map.
    """
    sparse = np.full_like(labels, ignore)
    kept = [slice(None)] * labels.ndim
    kept[axis] = slice(EVERY // 2, None, EVERY)
    sparse[tuple(kept)] = labels[tuple(kept)]
    return sparse


def keep_scribbles(labels: np.ndarray, ignore: int, axis: int, rng: np.random.Generator) -> np.ndarray:
    """Keep a random walk inside each class of every slice, background included; all other voxels are ignored.

    Args:
        labels: Label map, three axes.
        ignore: Value of ignored voxels.
        axis: To cut across.
        rng: Draws the walks.

    Returns:
        Sparse label map.
    """
    sparse = np.full_like(labels, ignore)
    for full, kept in zip(np.moveaxis(labels, axis, 0), np.moveaxis(sparse, axis, 0), strict=True):
        for value in np.unique(full):
            inside = ndimage.binary_erosion(full == value)  # nobody draws along the very border
            if inside.any():
                kept[_walk(inside, rng)] = value
    return sparse


def _walk(inside: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Walk straight on where possible, and turn at random where not."""
    place = rng.choice(np.argwhere(inside))
    step, path = rng.choice([(0, 1), (1, 0), (0, -1), (-1, 0)]), [place]
    for _ in range(STEPS):
        ahead = place + step
        if not ((ahead >= 0) & (ahead < inside.shape)).all() or not inside[tuple(ahead)]:
            step = rng.choice([(0, 1), (1, 0), (0, -1), (-1, 0)])
            continue
        place = ahead
        path.append(place)
    rows, columns = np.array(path).T
    return rows, columns


def make(source_id: int, target_id: int, keep: str, num_labelled: int, num_validation: int, seed: int) -> Path:
    """Write the dataset.

    Args:
        source_id: Number of the labelled dataset.
        target_id: Number of the dataset to write.
        keep: ``slices`` or ``scribbles``.
        num_labelled: Partly labelled training cases.
        num_validation: Validation cases with whole labels.
        seed: Draws cases and scribbles.

    Returns:
        Folder of the new dataset.

    Raises:
        UserError: The numbers do not fit the source, or the target exists.
    """
    source = find_dataset(source_id)
    dataset_json = read_dataset_json(source.raw)
    cases = find_labelled_cases(source.raw, dataset_json)
    if num_labelled < 1 or num_validation < 1 or num_labelled + num_validation > len(cases):
        raise UserError(
            f"{num_labelled} training and {num_validation} validation cases: {source.name} has {len(cases)} in all."
        )
    target = raw_root() / dataset_folder_name(target_id, f"{source.name[len('DatasetXXX_') :]}_{keep}_{seed}")
    refuse_other_names(target_id, target.name)
    if target.exists():
        raise UserError(f"{target} exists already. Choose another number with -o, or remove it.")
    rng = np.random.default_rng(seed)
    drawn = [str(case) for case in rng.permutation(sorted(cases))[: num_labelled + num_validation]]
    training, validation = sorted(drawn[:num_labelled]), sorted(drawn[num_labelled:])
    values = [v for entry in dataset_json["labels"].values() for v in (entry if isinstance(entry, list) else [entry])]
    ignore = max(values) + 1
    for folder in ("imagesTr", "labelsTr"):
        (target / folder).mkdir(parents=True)
    for case in drawn:
        for image in cases[case]["images"]:
            (target / "imagesTr" / Path(image).name).symlink_to(os.path.realpath(image))
        label = sitk.ReadImage(cases[case]["label"])
        if case in training:
            label = _sparse(label, keep, ignore, rng)
        sitk.WriteImage(label, str(target / "labelsTr" / Path(cases[case]["label"]).name))
    labels = {**dataset_json["labels"], "ignore": ignore}
    kept = {key: value for key, value in dataset_json.items() if key not in ("dataset", "crln")}
    write_json({**kept, "labels": labels, "numTraining": len(drawn)}, target / "dataset.json")
    preprocessed = Path(os.environ["nnUNet_preprocessed"]) / target.name
    preprocessed.mkdir(parents=True, exist_ok=True)
    write_json([{"train": training, "val": validation}], preprocessed / SPLITS_FILE)
    return target


def _sparse(label: sitk.Image, keep: str, ignore: int, rng: np.random.Generator) -> sitk.Image:
    voxels = sitk.GetArrayFromImage(label).astype(np.uint8)
    axis = int(np.argmax(label.GetSpacing()[::-1]))  # across the thickest slices, the first of equals
    sparse = keep_slices(voxels, ignore, axis) if keep == "slices" else keep_scribbles(voxels, ignore, axis, rng)
    result = sitk.GetImageFromArray(sparse)
    result.CopyInformation(label)
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-d", type=int, required=True, help="number of the labelled dataset")
    parser.add_argument("-o", type=int, required=True, help="number of the dataset to write")
    parser.add_argument("--keep", choices=("slices", "scribbles"), required=True)
    parser.add_argument("--num_labelled", type=int, default=8)
    parser.add_argument("--num_validation", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    o = parser.parse_args(arguments)
    run(lambda: print(make(o.d, o.o, o.keep, o.num_labelled, o.num_validation, o.seed)))


if __name__ == "__main__":
    main()

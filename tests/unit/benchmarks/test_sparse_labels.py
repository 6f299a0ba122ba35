"""The partly labelled dataset of the benchmark: what is kept is true, the rest is ignored."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
import sparse_labels

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.raw_dataset.check_names import check_dataset


def voxels(path):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


@pytest.mark.parametrize("keep", ["slices", "scribbles"])
def test_training_cases_are_sparse_and_validation_cases_whole(make_dataset, nnunet_folders, keep):
    source = make_dataset(dataset_id=4, labelled=4, unlabelled=0)
    target = sparse_labels.make(4, 504, keep, num_labelled=2, num_validation=1, seed=1)
    (fold,) = json.loads((nnunet_folders.preprocessed / target.name / "splits_final.json").read_text(encoding="utf-8"))
    assert len(fold["train"]) == 2 and len(fold["val"]) == 1
    for case in (*fold["train"], *fold["val"]):
        true, sparse = voxels(source / f"labelsTr/{case}.nii.gz"), voxels(target / f"labelsTr/{case}.nii.gz")
        known = sparse != 3
        np.testing.assert_array_equal(sparse[known], true[known])
        if case in fold["val"]:
            assert known.all()
        else:
            assert set(np.unique(sparse)) == {0, 1, 2, 3}
            assert 0 < known.mean() <= 0.21
    assert check_dataset(target) == []


def test_more_cases_than_there_are_is_an_error(make_dataset):
    make_dataset(dataset_id=4, labelled=2, unlabelled=0)
    with pytest.raises(UserError, match="2 in all"):
        sparse_labels.make(4, 504, "slices", num_labelled=2, num_validation=1, seed=0)

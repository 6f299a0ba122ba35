"""The benchmark's partly labelled cases: what is kept is true, the rest is ignored, held-out labels stay whole."""

import json
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from beds import Bed, draw, read_converted
from measuring import measure
from preparing import ignore_most_voxels, write_raw_dataset

from nnunetv2_crln.raw_dataset.check_names import check_dataset

IGNORE = 3


def voxels(path):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


@pytest.fixture
def whole_bed():
    return Bed("tiny", read_converted(), lambda groups: {groups[-1]}, (2,), "3d_fullres", {}, "HD95_mm")


@pytest.mark.parametrize("keep", ["slices", "scribbles"])
def test_labelled_cases_are_sparse_and_held_out_ones_whole(make_dataset, nnunet_folders, whole_bed, keep):
    source = make_dataset(labelled=3, unlabelled=3)
    bed = replace(whole_bed, keep=keep)
    found = bed.read(source)
    roles = draw(bed, found.cases, 2, 7)
    assert roles.unlabelled == [] and len(roles.labelled) == 2
    assert roles.labelled == draw(whole_bed, found.cases, 2, 7).labelled
    folder = nnunet_folders.raw / "Dataset107_tiny"
    write_raw_dataset(folder, found, roles)
    ignore_most_voxels(folder, keep, seed=1)
    for case in roles.labelled:
        true, sparse = voxels(case.label), voxels(folder / "labelsTr" / case.label.name)
        known = sparse != IGNORE
        np.testing.assert_array_equal(sparse[known], true[known])
        assert set(np.unique(sparse)) == {0, 1, 2, IGNORE}
        assert 0 < known.mean() <= 0.21
    (held_out,) = roles.test
    np.testing.assert_array_equal(voxels(folder / "labelsHeldOut" / held_out.label.name), voxels(held_out.label))
    assert json.loads((folder / "dataset.json").read_text())["labels"]["ignore"] == IGNORE
    assert check_dataset(folder) == []


def test_the_ignore_label_is_no_class_to_measure(make_dataset, whole_bed):
    case = whole_bed.read(make_dataset(labelled=1, unlabelled=0)).cases[0]
    found = measure(lambda _: voxels(case.label), [case], {"background": 0, "a": 1, "b": 2, "ignore": IGNORE})
    assert {name: values["Dice"] for name, values in found[case.name].items()} == {"a": 1.0, "b": 1.0}

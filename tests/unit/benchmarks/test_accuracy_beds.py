"""The data sets of the accuracy benchmark: who is labelled, unlabelled and held out."""

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from beds import BEDS, Bed, Case, draw, read_converted, read_decathlon
from preparing import reduce_configuration, write_raw_dataset

from nnunetv2_crln.dataset_conversion.common.splits import published_split
from nnunetv2_crln.raw_dataset.check_names import check_dataset


def cases_of(names, group_of=str):
    return [Case(name, group_of(name), (Path(f"{name}_0000.nii.gz"),), Path(f"{name}.nii.gz")) for name in names]


def all_cases(name):
    if name.startswith("hippocampus"):
        return cases_of([f"hippocampus_{i:03d}" for i in range(200)])
    split = published_split(name)
    return cases_of([*split.train, *split.validation, *split.test], split.patient_of)


@pytest.mark.parametrize("name", [name for name in BEDS if BEDS[name]().keep is None])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_case_has_one_role_and_patients_stay_together(name, seed):
    bed, cases = BEDS[name](), all_cases(name)
    for count in bed.counts:
        roles = draw(bed, cases, count, seed)
        parts = [roles.labelled, roles.unlabelled, roles.test]
        assert sorted(case.name for part in parts for case in part) == sorted(case.name for case in cases)
        groups = [{case.group for case in part} for part in parts]
        assert len(groups[0]) == count and groups[2]
        assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
        assert draw(bed, cases, count, seed) == roles


@pytest.mark.parametrize("name", list(BEDS))
def test_the_held_out_part_is_the_same_in_all_draws(name):
    bed, cases = BEDS[name](), all_cases(name)
    draws = [draw(bed, cases, bed.counts[0], seed) for seed in range(4)]
    assert all(roles.test == draws[0].test for roles in draws)
    assert len({tuple(case.name for case in roles.labelled) for roles in draws}) > 1


@pytest.mark.parametrize("name", ["acdc", "left_atrium", "pancreas_ct", "brats2019"])
def test_draw_0_labels_the_published_patients(name):
    bed, split = BEDS[name](), published_split(name)
    count = bed.counts[0]
    roles = draw(bed, all_cases(name), count, 0)
    assert {case.group for case in roles.labelled} == set(split.patients(split.train)[:count])


@pytest.mark.parametrize("name", ["left_atrium", "pancreas_ct", "brats2019"])
def test_published_test_cases_are_held_out_where_they_have_labels(name):
    bed, split = BEDS[name](), published_split(name)
    assert {case.name for case in draw(bed, all_cases(name), bed.counts[0], 0).test} == set(split.test)
    without = draw(bed, cases_of(split.train), bed.counts[0], 0).test
    assert 15 < len(without) <= 20 and {case.name for case in without} < set(split.train)


def test_too_many_labelled_are_refused():
    with pytest.raises(SystemExit, match="140"):
        draw(BEDS["hippocampus"](), all_cases("hippocampus"), 141, 0)


def write_image(path, array, spacing=(1.0, 1.0, 1.0)):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    sitk.WriteImage(image, str(path))


def test_a_decathlon_task_becomes_a_dataset_with_integer_labels(tmp_path):
    source = tmp_path / "Task"
    for name in "abcd":
        write_image(source / "imagesTr" / f"{name}.nii.gz", np.zeros((3, 4, 5), np.float32))
        write_image(source / "labelsTr" / f"{name}.nii.gz", np.full((3, 4, 5), 2, np.float32))
    write_image(source / "labelsTr" / "._a.nii.gz", np.zeros((3, 4, 5), np.uint8))
    (source / "dataset.json").write_text(
        json.dumps({"modality": {"0": "MRI"}, "labels": {"0": "background", "2": "x"}})
    )
    found = read_decathlon(source)
    assert found.dataset_json["labels"] == {"background": 0, "x": 2} and len(found.cases) == 4
    bed = Bed("tiny", read_decathlon, lambda groups: {"a"}, (1,), "3d_fullres", {}, "HD95_mm")
    write_raw_dataset(tmp_path / "Dataset100_tiny", found, draw(bed, found.cases, 1, 0))
    label = sitk.ReadImage(str(next((tmp_path / "Dataset100_tiny" / "labelsUl").iterdir())))
    assert label.GetPixelID() == sitk.sitkUInt8 and sitk.GetArrayFromImage(label).max() == 2
    assert [p.name for p in (tmp_path / "Dataset100_tiny" / "labelsHeldOut").iterdir()] == ["a.nii.gz"]


def test_a_converted_dataset_gives_all_cases_that_have_labels(make_dataset):
    folder = make_dataset(labelled=2, unlabelled=3)
    found = read_converted(lambda name: name[:3])(folder)
    assert [case.group for case in found.cases] == ["lab"] * 2 + ["tst"] + ["unl"] * 3
    assert all(image.exists() and case.label.exists() for case in found.cases for image in case.images)
    assert "crln" not in found.dataset_json


def test_what_is_written_is_a_valid_dataset(make_dataset, nnunet_folders):
    found = read_converted()(make_dataset(labelled=2, unlabelled=3))
    bed = Bed("tiny", read_converted(), lambda groups: {groups[-1]}, (2,), "3d_fullres", {}, "HD95_mm")
    roles = draw(bed, found.cases, 2, 7)
    folder = nnunet_folders.raw / "Dataset107_tiny"
    write_raw_dataset(folder, found, roles)
    check_dataset(folder)
    assert json.loads((folder / "dataset.json").read_text())["numTraining"] == 2


@pytest.mark.parametrize(("name", "plan"), [(name, plan) for name in BEDS for plan in BEDS[name]().plans])
def test_reduced_plans_halve_the_patch_as_often_as_it_can_be(name, plan):
    bed = BEDS[name]()
    axes = len(bed.plans[plan].patch_size)
    configuration = {"spacing": [1.0] * axes, "architecture": {"arch_kwargs": {}}}
    reduce_configuration(configuration, bed, plan)
    network = configuration["architecture"]["arch_kwargs"]
    assert axes == (2 if bed.configuration == "2d" else 3)
    assert all(size % 2 ** (network["n_stages"] - 1) == 0 for size in configuration["patch_size"])
    assert {len(network[key]) for key in ("features_per_stage", "kernel_sizes", "strides", "n_conv_per_stage")} == {
        network["n_stages"]
    }
    assert configuration["spacing"] == [float(bed.plans[plan].scale)] * axes

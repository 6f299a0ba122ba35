"""Parts of the conversion, against values known by hand."""

import gzip
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import SimpleITK as sitk

from nnunetv2_crln.dataset_conversion.common.case_names import read_case_list
from nnunetv2_crln.dataset_conversion.common.geometry import Grid, corner_distance, same_spacing
from nnunetv2_crln.dataset_conversion.common.image_files import read_grid, read_image, write_image
from nnunetv2_crln.dataset_conversion.common.labels import check_values, integer_values
from nnunetv2_crln.dataset_conversion.common.orientation import axis_change
from nnunetv2_crln.dataset_conversion.common.roles import Role
from nnunetv2_crln.dataset_conversion.common.splits import Split, published_split
from nnunetv2_crln.errors import UserError
from nnunetv2_crln.utilities.json_files import write_json
from nnunetv2_crln.utilities.parallel import run_all

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def grid(size=(4, 5, 6), spacing=(1.0, 1.0, 2.0), origin=(0.0, 0.0, 0.0), direction=IDENTITY):
    return Grid(size, spacing, origin, direction)


@pytest.mark.parametrize(
    ("other", "distance"),
    [
        (grid(), 0),
        (grid(origin=(0.0, 3.0, 4.0)), 5),
        (grid(spacing=(1.0, 1.0, 2.2)), 5 * 0.2),
        (grid(direction=(-1, 0, 0, 0, 1, 0, 0, 0, 1)), 2 * 3),
        (grid(size=(4, 5, 7)), np.inf),
    ],
)
def test_corner_distance(other, distance):
    assert corner_distance(grid(), other) == pytest.approx(distance)
    assert same_spacing(grid(), other) == (other.size == (4, 5, 6) and other.spacing == (1, 1, 2))


def test_positions_are_those_of_simpleitk():
    image = sitk.Image([4, 5, 6], sitk.sitkUInt8)
    image.SetSpacing((0.5, 2, 3))
    image.SetOrigin((1, -2, 3))
    image.SetDirection((0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1))
    np.testing.assert_allclose(Grid.of(image).position((1, 2, 3)), image.TransformIndexToPhysicalPoint((1, 2, 3)))


def test_axis_change_in_words():
    image = sitk.DICOMOrient(sitk.Image([4, 5, 6], sitk.sitkUInt8), "LPS")
    assert axis_change(image, image) == ""
    assert axis_change(image, sitk.DICOMOrient(image, "LAS")) == "flipped along y"
    assert axis_change(image, sitk.DICOMOrient(image, "PLI")) == "flipped along z, axes yxz as xyz"


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.nrrd", "a.mha"])
def test_images_come_back_as_written(tmp_path, name):
    image = sitk.GetImageFromArray(np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    image.SetSpacing((0.625, 1.5, 2))
    image.SetOrigin((1, -2, 3))
    write_image(image, tmp_path / name)
    assert corner_distance(Grid.of(image), Grid.of(read_image(tmp_path / name))) < 1e-5
    assert corner_distance(Grid.of(image), read_grid(tmp_path / name)) < 1e-5
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.nrrd"])
@pytest.mark.parametrize("share", [0.3, 0.8, 0.99])
def test_truncated_images_are_refused(tmp_path, name, share):
    array = np.random.default_rng(0).integers(0, 1000, (10, 10, 10), dtype=np.int16)
    write_image(sitk.GetImageFromArray(array), tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match=r"truncated, damaged or not an image"):
        read_image(tmp_path / name)


def test_a_short_nifti_in_a_complete_gzip_file_is_refused(tmp_path):
    write_image(sitk.Image([10, 10, 10], sitk.sitkInt16), tmp_path / "a.nii")
    with gzip.open(tmp_path / "a.nii.gz", "wb") as file:
        file.write((tmp_path / "a.nii").read_bytes()[:-10])
    with pytest.raises(UserError, match=r"2342 bytes, its header promises 2352"):
        read_image(tmp_path / "a.nii.gz")


def test_other_files_are_refused(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(b"<html>")
    for name in ("a.nii.gz", "missing.nii.gz"):
        with pytest.raises(UserError, match=name):
            read_image(tmp_path / name)


def test_failed_writes_leave_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_json({"a": 1}, path)
    with pytest.raises(TypeError):
        write_json({"a": object()}, path)
    assert path.read_text(encoding="utf-8") == '{\n    "a": 1\n}\n'
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize(("values", "dtype"), [([0, 1, 255], np.uint8), ([0, 300], np.uint16), ([0.0, 2.0], np.uint8)])
def test_integer_values(values, dtype):
    array, found = integer_values(sitk.GetImageFromArray(np.array([values])), "x")
    assert array.dtype == dtype and found == values


@pytest.mark.parametrize("bad", [0.5, -1.0, np.nan, np.inf, 70000.0])
def test_values_that_are_no_class(bad):
    with pytest.raises(UserError, match=r"x holds 1 value\(s\) that are not class numbers"):
        integer_values(sitk.GetImageFromArray(np.array([[0, bad]], dtype=np.float64)), "x")


def test_unexpected_values_are_named():
    check_values([0, 1], [0, 1, 2], "x")
    with pytest.raises(UserError, match=r"x holds the label value\(s\) \[3\], expected only \[0, 1\]"):
        check_values([0, 3], [1, 0], "x")


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("left_atrium", (80, 0, 20)),
        ("pancreas_ct", (62, 0, 20)),
        ("brats2019", (250, 25, 60)),
        ("acdc", (140, 20, 40)),
    ],
)
def test_published_splits(name, sizes):
    split = published_split(name)
    parts = (split.train, split.validation, split.test)
    assert tuple(map(len, parts)) == sizes
    for first, second in combinations(parts, 2):
        assert not set(first) & set(second)


@pytest.mark.parametrize(
    ("name", "labelled", "unlabelled"),
    [
        ("left_atrium", 8, 72),
        ("left_atrium", 16, 64),
        ("pancreas_ct", 6, 56),
        ("pancreas_ct", 12, 50),
        ("brats2019", 25, 225),
        ("brats2019", 50, 200),
    ],
)
def test_protocols_of_the_article(name, labelled, unlabelled):
    split = published_split(name)
    roles = split.roles(labelled)
    assert [case for case, role in roles.items() if role is Role.LABELLED] == list(split.train[:labelled])
    assert sum(role is Role.UNLABELLED for role in roles.values()) == unlabelled


@pytest.mark.parametrize(
    ("patients", "last"), [(1, "patient099"), (3, "patient050"), (7, "patient049"), (14, "patient056")]
)
def test_protocols_of_acdc_count_patients_with_two_phases_each(patients, last):
    split = published_split("acdc")
    for cases, number in ((split.train, 70), (split.validation, 10), (split.test, 20)):
        assert len(split.patients(cases)) == number
        assert set(cases) == {f"{name}_frame{phase}" for name in split.patients(cases) for phase in ("01", "02")}
    labelled = [case for case, role in split.roles(patients).items() if role is Role.LABELLED]
    assert len(labelled) == 2 * patients and labelled[-1] == f"{last}_frame02"


@pytest.mark.parametrize("test", ["b", "B"])
def test_a_case_is_in_one_list_whatever_its_case(test):
    """On macOS and Windows the files of B would replace those of b."""
    with pytest.raises(UserError, match=r"case\(s\) occur twice in the split \(mine\): .*upper and lower case"):
        Split("mine", ("a", "b"), (), (test,))


SCANS = Split("mine", ("p1_a", "p2_a", "p1_b", "p3_a", "p3_b", "odd"), ("p4_a",), (), r"p\d")


def test_all_cases_of_a_patient_have_one_role_in_whatever_order_they_are_listed():
    assert SCANS.patients(SCANS.train) == ["p1", "p2", "p3", "odd"]
    roles = SCANS.roles(2)
    assert list(roles) == [*SCANS.train, *SCANS.validation]
    assert [case for case, role in roles.items() if role is Role.LABELLED] == ["p1_a", "p2_a", "p1_b"]


def test_a_patient_is_in_one_list_only():
    with pytest.raises(UserError, match=r"1 patient\(s\) have cases in more than one list .*: p2\."):
        replace(SCANS, test=("p2_b",))


def test_folds_hold_out_whole_patients():
    folds = SCANS.folds(["p1_a", "p2_a", "p1_b"], ["p4_a"])
    assert folds[0] == {"train": ["p1_a", "p2_a", "p1_b"], "val": ["p4_a"]}
    assert folds[1:] == [{"train": ["p2_a"], "val": ["p1_a", "p1_b"]}, {"train": ["p1_a", "p1_b"], "val": ["p2_a"]}]
    assert SCANS.folds(["p1_a", "p1_b"], []) == []
    many = published_split("acdc")
    folds = many.folds(many.train[:28], [])
    assert sorted(case for fold in folds for case in fold["val"]) == sorted(many.train[:28])
    assert [len(many.patients(fold["val"])) for fold in folds] == [3, 3, 3, 3, 2]
    for fold in folds:
        assert not set(many.patients(fold["train"])) & set(many.patients(fold["val"]))


def test_without_patients_nnunet_makes_the_folds_itself():
    split = replace(SCANS, patient="")
    assert split.folds(["p1_a", "p2_a", "p1_b"], []) == []
    assert split.folds(["p1_a"], ["p4_a"]) == [{"train": ["p1_a"], "val": ["p4_a"]}]


@pytest.mark.parametrize("number", [0, 3, -1])
def test_impossible_number_of_labelled_cases(number):
    with pytest.raises(UserError, match="expected 1 to 2"):
        Split("mine", ("a", "b", "c"), (), ()).roles(number)


def test_case_list_with_byte_order_mark_and_windows_lines(tmp_path):
    (tmp_path / "list.txt").write_bytes("\ufeffa\r\nb\r\n\r\n".encode())
    assert read_case_list(tmp_path / "list.txt") == ["a", "b"]


@pytest.mark.parametrize("content", ["", "# nothing\n"])
def test_empty_case_list(tmp_path, content):
    (tmp_path / "list.txt").write_text(content)
    with pytest.raises(UserError, match="is empty"):
        read_case_list(tmp_path / "list.txt")


@pytest.mark.parametrize("content", ['{"a": 1}', "[1]", "[", '"a"'])
def test_json_that_is_no_case_list(tmp_path, content):
    (tmp_path / "list.json").write_text(content)
    with pytest.raises(UserError, match=r"list\.json"):
        read_case_list(tmp_path / "list.json")


def fail_on_b(job):
    if job == "b":
        raise ZeroDivisionError("oops")
    return job * 2


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_failing_case_does_not_stop_the_others(processes):
    results, errors = run_all(fail_on_b, {name: (name,) for name in "cab"}, processes, "x")
    assert results == {"c": "cc", "a": "aa"} and list(results) == ["c", "a"]
    assert errors == {"b": "ZeroDivisionError: oops"}


def killed(job):
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_killed_worker_is_reported():
    with pytest.raises(UserError, match="ran out of memory"):
        run_all(killed, {"a": (1,), "b": (2,)}, 2, "x")

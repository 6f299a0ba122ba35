"""Files that a reader opens beside an image belong to its case."""

import pytest

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.raw_dataset.cases import source_record
from nnunetv2_crln.raw_dataset.companions import (
    check_spacing_file,
    companions_of_image,
    companions_of_label,
    spacing_file,
)


def touch(folder, *names):
    for name in names:
        (folder / name).write_bytes(b"")
    return [folder / name for name in names]


def test_spacing_of_tiff(tmp_path):
    image, label, of_image, of_label = touch(tmp_path, "a_0000.tif", "a_0001.TIFF", "a.json", "a_0001.json")
    assert companions_of_image(image) == [of_image] == companions_of_image(label)
    assert companions_of_label(label) == [of_label]
    assert spacing_file(tmp_path / "a_0000.nii.gz", is_label=False) is None


@pytest.mark.parametrize(
    ("name", "header", "others"),
    [
        ("a.nhdr", "NRRD0004\ndata file: a.raw.gz\n", ["a.raw.gz"]),
        ("a.nrrd", "NRRD0004\nencoding: raw\n\n voxels data file: b\n", []),
        ("a.nhdr", "NRRD0004\ndata file: LIST\na.1\na.2\n", ["a.1", "a.2"]),
        ("a.mhd", "ObjectType = Image\nElementDataFile = a.raw\n", ["a.raw"]),
        ("a.mha", "ObjectType = Image\nElementDataFile = LOCAL\n\x00\x01", []),
        ("a.hdr", "", ["a.img"]),
        ("a.img", "", ["a.hdr"]),
    ],
)
def test_voxels_behind_a_detached_header(tmp_path, name, header, others):
    (tmp_path / name).write_text(header)
    touch(tmp_path, *others)
    assert companions_of_image(tmp_path / name) == companions_of_label(tmp_path / name)
    assert [path.name for path in companions_of_image(tmp_path / name)] == others


def test_a_missing_companion_is_left_out(tmp_path):
    (tmp_path / "a.mhd").write_text("ElementDataFile = a.raw\n")
    assert companions_of_image(tmp_path / "a.mhd") == []


def test_the_record_of_a_case_changes_with_its_spacing_files(tmp_path):
    (tmp_path / "labels").mkdir()
    image, spacing = touch(tmp_path, "a_0000.tif", "a.json")
    label, of_label = touch(tmp_path / "labels", "a.tif", "a.json")
    records = [source_record([str(image)], str(label))]
    for path in (spacing, of_label):
        path.write_text("{}")
        records.append(source_record([str(image)], str(label)))
    assert records[0] != records[1] != records[2]


@pytest.mark.parametrize(
    "content",
    ["", "[1, 1, 1]", "{}", '{"spacing": [1, 1]}', '{"spacing": [1, 1, 0]}', '{"spacing": "1 1 1"}', "\ufeff{}"],
)
def test_bad_spacing_files_are_named(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"a\.json .*expected .*three numbers above 0"):
        check_spacing_file(path)


def test_good_spacing_file(tmp_path):
    (tmp_path / "a.json").write_text('{"spacing": [3, 0.5, 0.5]}')
    check_spacing_file(tmp_path / "a.json")

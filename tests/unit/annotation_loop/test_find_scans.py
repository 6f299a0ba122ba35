"""Names and channels of scans in folders of any layout."""

import errno
import os
from pathlib import Path

import pytest

from nnunetv2_crln.annotation_loop.find_scans import find_scans
from nnunetv2_crln.errors import UserError


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(scans):
    return {scan.name: [path.name for path in scan.channels] for scan in scans}


def test_any_name_is_a_case_if_there_is_one_channel(tmp_path):
    touch(tmp_path, "scan_0007.nii.gz", "sub dir/b.nrrd", "c.mhd", ".hidden.nii.gz", "notes.txt")
    assert found(find_scans([tmp_path], 1)) == {
        "scan_0007": ["scan_0007.nii.gz"],
        "sub_dir_b": ["b.nrrd"],
        "c": ["c.mhd"],
    }


def test_the_channel_number_of_nnunet_is_cut_off(tmp_path):
    touch(tmp_path, "a_0000.nii.gz", "b_0000.nii.gz")
    assert sorted(found(find_scans([tmp_path], 1, prefix="new_"))) == ["new_a", "new_b"]


def test_numbered_channels_belong_together(tmp_path):
    touch(tmp_path, "a_0001.nii.gz", "a_0000.nii.gz", "b_0000.nii.gz")
    scans = {scan.name: scan for scan in find_scans([tmp_path], 2)}
    assert [path.name for path in scans["a"].channels] == ["a_0000.nii.gz", "a_0001.nii.gz"]
    assert not scans["a"].fault
    assert "channel(s) 0 found, 2 expected" in scans["b"].fault


def test_patterns_name_the_channels(tmp_path):
    touch(tmp_path, "p1/p1_t1.nii.gz", "p1/p1_flair.nii.gz", "p1/p1_seg.nii.gz", "p2/p2_t1.nii.gz")
    scans = {s.name: s for s in find_scans([tmp_path], 2, ["{case}/{case}_flair.nii.gz", "{case}/{case}_t1.nii.gz"])}
    assert [path.name for path in scans["p1"].channels] == ["p1_flair.nii.gz", "p1_t1.nii.gz"]
    assert scans["p2"].fault
    assert list(found(find_scans([tmp_path], 1, ["{case}_seg.nii.gz"]))) == ["p1"]


def test_a_folder_of_slices_is_a_scan(tmp_path):
    touch(tmp_path, "patient/series/1.dcm", "patient/series/2.dcm")
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "IM0001").write_bytes(bytes(128) + b"DICM")
    assert found(find_scans([tmp_path], 1)) == {"patient_series": ["series"], "bare": ["bare"]}
    assert found(find_scans([tmp_path / "bare"], 1)) == {"bare": ["bare"]}


def test_two_scans_of_one_name_are_a_fault(tmp_path):
    touch(tmp_path, "one/a.nii.gz", "two/a.nii.gz")
    (scan,) = find_scans([tmp_path / "one", tmp_path / "two"], 1)
    assert "several scans get this name" in scan.fault


def test_a_file_that_would_be_two_channels_is_a_fault(tmp_path):
    touch(tmp_path, "p/p_t1.nii.gz")
    (scan,) = find_scans([tmp_path], 2, ["{case}_t1.nii.gz", "{case}/{case}_t1.nii.gz"])
    assert scan.fault == "one file fits the patterns of several channels; correct --channels"


@pytest.mark.parametrize(
    ("patterns", "text"),
    [
        (["{case}_t1.nii.gz"], "--channels has 1 pattern"),
        (["{case}.nii.gz", "{case}.nii.gz"], "a pattern is given twice"),
        (["a.nii.gz", "{case}_b.nii.gz"], "{case} is missing"),
        (["{case}_x.nii.gz", "{case}_y.nii.gz"], "holds no image .* that fits"),
    ],
)
def test_patterns_that_do_not_fit_are_refused(tmp_path, patterns, text):
    touch(tmp_path, "a.nii.gz")
    with pytest.raises(UserError, match=text):
        find_scans([tmp_path], 2, patterns)


@pytest.mark.parametrize("prefix", ["../x_", "site/x_", ".x", "a b_"])
def test_a_prefix_that_leads_out_of_the_folder_or_hides_a_file_is_refused(tmp_path, prefix):
    touch(tmp_path, "a.nii.gz")
    with pytest.raises(UserError, match="is no beginning of a file name"):
        find_scans([tmp_path], 1, prefix=prefix)
    assert [scan.name for scan in find_scans([tmp_path], 1, prefix="Süd-2.")] == ["Süd-2.a"]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere is not a folder"):
        find_scans([tmp_path / "nowhere"], 1)


def test_every_image_is_used_or_named_in_a_fault(tmp_path):
    touch(tmp_path, "p1.nii.gz", "p1.mha", "P2.NII.GZ", "p3.NRRD", "p4.mgz", "p5.hdr", "p5.img", "p6.mhd", "p6.raw")
    (tmp_path / "p7.nii.gz").symlink_to("nowhere")
    scans = {scan.name: scan for scan in find_scans([tmp_path], 1)}
    assert sorted(scans) == ["P2", "p1", "p3", "p4", "p5", "p6", "p7"]
    assert [name for name, scan in scans.items() if not scan.fault] == ["P2", "p3", "p6"]
    assert "several scans get this name" in scans["p1"].fault and "p1.nii.gz" in scans["p1"].fault
    assert "p4.mgz is in a format that is not read; convert it" in scans["p4"].fault
    assert "p5.hdr" in scans["p5"].fault
    assert "p7.nii.gz is a broken link" in scans["p7"].fault


def test_pictures_with_losses_are_named_and_change_no_other_name(tmp_path):
    touch(tmp_path, "a_0000.png", "b.jpg", "c.JPEG")
    scans = {scan.name: scan for scan in find_scans([tmp_path], 1)}
    assert sorted(scans) == ["a", "b", "c"] and not scans["a"].fault
    assert "b.jpg is in a format that is not read; convert it, for example to .png" in scans["b"].fault


@pytest.mark.parametrize("names", [("Brain.hdr", "Brain.img"), ("s.1.hdr", "s.1.img"), ("A.HDR", "A.IMG.gz")])
def test_header_and_voxels_of_one_scan_are_not_two_scans(tmp_path, names):
    touch(tmp_path, *names)
    (scan,) = find_scans([tmp_path], 1)
    assert "is in a format that is not read; convert it" in scan.fault


def test_a_series_and_a_file_of_one_name_are_a_fault(tmp_path):
    touch(tmp_path, "p/1.dcm", "p.nii.gz")
    (scan,) = find_scans([tmp_path], 1)
    assert "several scans get this name" in scan.fault and {path.name for path in scan.channels} == {"p", "p.nii.gz"}


def test_slices_named_by_a_number_are_found(tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "1.2.840.7").write_bytes(bytes(128) + b"DICM")
    touch(tmp_path, "q.nii.gz")
    assert sorted(found(find_scans([tmp_path], 1))) == ["p", "q"]


def test_links_to_folders_are_followed_and_end(tmp_path):
    touch(tmp_path, "elsewhere/a.nii.gz", "scans/b.nii.gz")
    (tmp_path / "scans" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "scans")
    assert sorted(found(find_scans([tmp_path / "scans"], 1))) == ["b", "linked_a"]


def test_the_ending_of_nnunets_masks_is_refused(tmp_path):
    touch(tmp_path, "p.nii.gz", "p_seg.nii.gz")
    faults = {scan.name: scan.fault for scan in find_scans([tmp_path], 1)}
    assert not faults["p"] and "nnU-Net reserves names that end in _seg; rename it" in faults["p_seg"]


def refuse(monkeypatch, owner, name, place):
    """Let a function fail for one path as the system does for others' files; root may read everything."""
    function = getattr(owner, name)

    def refusing(path, *arguments, **keywords):
        if Path(path) == place:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return function(path, *arguments, **keywords)

    monkeypatch.setattr(owner, name, refusing)


@pytest.mark.parametrize(
    ("owner", "function", "place", "name"),
    [
        (os, "scandir", "site_2/closed", "new_site_2_closed"),
        (Path, "open", "site_2/IM0001", "new_site_2_IM0001"),
        (Path, "exists", "b.nii.gz", "new_b"),
    ],
    ids=["folder", "slice", "image"],
)
def test_what_cannot_be_read_is_a_fault_and_ends_nothing(tmp_path, monkeypatch, owner, function, place, name):
    touch(tmp_path, "a.nii.gz", "b.nii.gz", "site_2/closed/c.nii.gz", "site_2/IM0001")
    refuse(monkeypatch, owner, function, tmp_path / place)
    scans = {scan.name: scan for scan in find_scans([tmp_path], 1, prefix="new_")}
    assert not scans["new_a"].fault
    assert "it cannot be read (Permission denied); correct its permissions" in scans[name].fault
    assert scans[name].source == str(tmp_path / place)
    assert [each for each, scan in scans.items() if scan.fault] == [name]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    touch(tmp_path, "a.nii.gz")
    refuse(monkeypatch, os, "scandir", tmp_path)
    with pytest.raises(UserError, match=rf"{tmp_path}: it cannot be read \(Permission denied\)"):
        find_scans([tmp_path], 1)


def test_a_folder_with_nothing_but_what_cannot_be_read_is_reported_like_others(tmp_path, monkeypatch):
    touch(tmp_path, "closed/a.nii.gz")
    refuse(monkeypatch, os, "scandir", tmp_path / "closed")
    (scan,) = find_scans([tmp_path], 1, ["{case}.nii.gz"])
    assert scan.name == "closed" and scan.fault


def test_names_that_differ_in_case_alone_are_a_fault(tmp_path):
    touch(tmp_path, "one/Scan.nii.gz", "two/scan.nii.gz", "two/other.nii.gz")
    scans = {scan.name: scan for scan in find_scans([tmp_path / "one", tmp_path / "two"], 1)}
    assert "another scan is named scan, the same but for upper and lower case; rename one" in scans["Scan"].fault
    assert "another scan is named Scan" in scans["scan"].fault
    assert not scans["other"].fault

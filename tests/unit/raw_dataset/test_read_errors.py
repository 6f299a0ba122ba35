"""Why a file cannot be read, in words that help."""

import gzip
import os

import pytest

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.raw_dataset.read_errors import explain_read_error, last_line


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("a.nii.gz", b"", "it is empty"),
        ("a.nii.gz", b"plain", "not compressed, although its name ends in .gz"),
        ("a.nii", gzip.compress(b"x", mtime=0), "compressed, although its name does not end in .gz"),
        ("._a.nii.gz", bytes.fromhex("00051607") + bytes(60), "macOS"),
        ("a.nii.gz", b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        ("a.nii.gz", b"<!DOCTYPE html><html>", "web page"),
        ("a.nrrd", b"NRRD0004", "the reader's reason"),
    ],
)
def test_the_content_says_more_than_the_reader(tmp_path, name, content, text):
    (tmp_path / name).write_bytes(content)
    assert text in explain_read_error(tmp_path / name, RuntimeError("somewhere.cxx:12:\nthe reader's reason"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_missing_permissions(tmp_path):
    (tmp_path / "a.nrrd").touch(mode=0)
    assert "permissions" in explain_read_error(tmp_path / "a.nrrd", RuntimeError("x"))


def test_a_missing_file_is_named_by_the_system(tmp_path):
    assert "No such file or directory: correct its name" in explain_read_error(tmp_path / "a.nrrd", RuntimeError("x"))


def test_a_user_error_is_its_own_explanation(tmp_path):
    assert explain_read_error(tmp_path / "a.nrrd", UserError("set it to 3")) == "set it to 3"


def test_an_error_without_text_has_a_likely_cause(tmp_path):
    (tmp_path / "a.nrrd").write_bytes(b"NRRD0004")
    assert "differ in shape or spacing" in explain_read_error(tmp_path / "a.nrrd", RuntimeError())


def test_the_spacing_file_of_tiff_is_a_cause(tmp_path):
    (tmp_path / "a_0000.tif").write_bytes(b"II*\x00")
    (tmp_path / "a.json").write_text("{}")
    assert "a.json" in explain_read_error(tmp_path / "a_0000.tif", RuntimeError("x"))


def test_only_the_last_line_of_a_message_is_kept_and_it_is_short():
    assert last_line(RuntimeError("place.cxx\n\nreason\n")) == "reason"
    assert last_line(RuntimeError()) == "RuntimeError"
    assert len(last_line(RuntimeError("word " * 100))) <= 160


def test_the_last_error_of_the_system_is_no_reason_for_a_file_that_is_there(tmp_path):
    (tmp_path / "a.mha").write_bytes(b"ObjectType = Image")
    error = RuntimeError("itk.cxx:1:\nFile cannot be read: a.mha for reading.\nReason: No such file or directory")
    assert "truncated or damaged: copy it again" in explain_read_error(tmp_path / "a.mha", error)

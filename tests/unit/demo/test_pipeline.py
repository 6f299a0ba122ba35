"""The demo's folder, variables and command line; the workflow itself is an end-to-end test."""

import os
import shlex
import sys
from types import SimpleNamespace

import pytest

from nnunetv2_crln.cli.compare import build_parser
from nnunetv2_crln.demo import pipeline
from nnunetv2_crln.demo.pipeline import STAMP, Demo
from nnunetv2_crln.demo.settings import DemoSettings
from nnunetv2_crln.errors import UserError
from nnunetv2_crln.layout import SPLITS_FILE
from nnunetv2_crln.utilities.json_files import read_json, write_json

FEW = DemoSettings(labelled=1, unlabelled=1, held_out=1)


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("draft")
    with pytest.raises(UserError, match="was not made by nnUNetv2_crln_demo"):
        Demo(tmp_path, FEW).write_dataset()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("content", ['{"title": "my web demo"}', "[1]", "no JSON", ""])
def test_a_folder_with_a_foreign_file_of_the_same_name_is_refused(tmp_path, content):
    (tmp_path / STAMP).write_text(content)
    (tmp_path / "logs").mkdir()
    with pytest.raises(UserError, match="was not made by nnUNetv2_crln_demo"):
        Demo(tmp_path, FEW).write_dataset()
    assert (tmp_path / STAMP).read_text() == content and (tmp_path / "logs").is_dir()


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="exists"):
        Demo(tmp_path / "file", FEW).write_dataset()


def test_an_unknown_method_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(UserError, match="Did you mean crln"):
        Demo(tmp_path / "demo", DemoSettings(methods=("supervised", "clrn")))
    assert not (tmp_path / "demo").exists()


def test_the_dataset_is_written_once(tmp_path):
    demo = Demo(tmp_path / "demo", FEW)
    demo.write_dataset()
    written = (demo.raw / "dataset.json").stat().st_mtime_ns
    Demo(tmp_path / "demo", FEW).write_dataset()
    assert (demo.raw / "dataset.json").stat().st_mtime_ns == written
    assert (tmp_path / "demo" / STAMP).is_file()


def test_other_settings_start_afresh_and_keep_foreign_files(tmp_path):
    demo = Demo(tmp_path / "demo", FEW)
    demo.write_dataset()
    for folder in (demo.preprocessed, demo.results, demo.comparison.output):
        folder.mkdir(parents=True)
    foreign = [demo.output / "my_notes.txt"]
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        foreign.append(demo.output / name / "Dataset150_Liver" / "file")
    for path in foreign:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    Demo(tmp_path / "demo", DemoSettings(labelled=2, unlabelled=1, held_out=1)).write_dataset()
    assert not any(folder.exists() for folder in (demo.preprocessed, demo.results, demo.comparison.output))
    assert all(path.exists() for path in foreign)
    assert len(list((demo.raw / "labelsTr").iterdir())) == 3


def test_the_printed_command_is_one_that_the_comparison_accepts(tmp_path):
    demo = Demo(tmp_path / "a folder", FEW)
    name, *arguments = shlex.split(demo.compare_command())
    assert name == "nnUNetv2_crln_compare"
    typed, chosen = build_parser().parse_args(arguments), demo.comparison
    assert (typed.d, typed.c, typed.p, typed.o) == (999, "3d_fullres", "nnUNetPlans_demo", chosen.output)
    assert (tuple(typed.methods), tuple(typed.f)) == (chosen.methods, chosen.folds)
    assert (typed.epochs, typed.device, typed.at_once) == (chosen.epochs, chosen.device, chosen.at_once)
    assert typed.no_estimate is not chosen.measure


def test_variables_are_those_of_the_demo_during_the_commands_alone(tmp_path, monkeypatch, capsys):
    """The two steps are replaced by ones that note their variables."""
    monkeypatch.setenv("nnUNet_raw", "/of/the/user")
    monkeypatch.delenv("nnUNet_results", raising=False)
    demo, seen = Demo(tmp_path / "demo", FEW), []

    def plan(commands, places):
        seen.append(os.environ["nnUNet_raw"])
        demo.preprocessed.mkdir(parents=True)
        configurations = {"3d_fullres": {"architecture": {"arch_kwargs": {}}}}
        write_json({"configurations": configurations}, demo.preprocessed / "nnUNetPlans.json")

    def compare(options):
        seen.append(os.environ["nnUNet_results"])
        assert read_json(demo.preprocessed / SPLITS_FILE) == [{"train": ["labelled_000"], "val": ["held_out_000"]}]
        assert (demo.preprocessed / f"{options.plans_name}.json").is_file()
        return "the table"

    monkeypatch.setattr(pipeline, "run_queue", plan)
    monkeypatch.setitem(sys.modules, "nnunetv2_crln.comparison.compare", SimpleNamespace(compare=compare))
    assert demo.run() == "the table"
    assert seen == [str(demo.output / "nnUNet_raw"), str(demo.output / "nnUNet_results")]
    assert os.environ["nnUNet_raw"] == "/of/the/user" and "nnUNet_results" not in os.environ
    shown = capsys.readouterr().out
    assert f"export nnUNet_raw={demo.output / 'nnUNet_raw'}" in shown
    assert f"$ {demo.compare_command()}" in shown

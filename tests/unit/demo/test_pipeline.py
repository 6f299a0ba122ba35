"""The demo's folder and its table; the workflow itself is an end-to-end test."""

import pytest

from nnunetv2_crln.demo.pipeline import STAMP, Demo, DemoSettings, comparison_table
from nnunetv2_crln.errors import UserError

FEW = DemoSettings(labelled=1, unlabelled=1, test=1)


def test_a_folder_of_someone_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match="was not made by nnUNetv2_crln_demo"):
        Demo(tmp_path, FEW).write_dataset()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="Choose another folder"):
        Demo(tmp_path / "file", FEW).write_dataset()


def test_the_same_settings_keep_the_dataset(tmp_path):
    demo = Demo(tmp_path / "demo", FEW)
    demo.write_dataset()
    written = (demo.raw / "dataset.json").stat().st_mtime_ns
    Demo(tmp_path / "demo", FEW).write_dataset()
    assert (demo.raw / "dataset.json").stat().st_mtime_ns == written
    assert (tmp_path / "demo" / STAMP).is_file()


def test_other_settings_start_afresh_and_touch_nothing_else(tmp_path):
    demo = Demo(tmp_path / "demo", FEW)
    demo.write_dataset()
    demo.preprocessed.mkdir(parents=True)
    (demo.output / "my_notes.txt").touch()
    Demo(tmp_path / "demo", DemoSettings(labelled=2, unlabelled=1, test=1)).write_dataset()
    assert not demo.preprocessed.exists()
    assert (demo.output / "my_notes.txt").exists()
    assert len(list((demo.raw / "labelsTr").iterdir())) == 2


def test_the_table_has_a_column_for_each_trainer():
    def evaluation(dice: float, distance: float) -> dict:
        metrics = {"Dice": {"mean": dice}, "HD95_mm": {"mean": distance}}
        return {"mean": {"left ventricle": metrics}, "foreground_mean": metrics}

    table = comparison_table({"baseline": evaluation(0.712, 8.24), "method": evaluation(0.8, float("nan"))})
    lines = [line.split("  ") for line in table.splitlines()]
    assert [cell.strip() for cell in lines[0] if cell] == ["Dice [%] / 95HD [mm]", "baseline", "method"]
    assert "71.2 / 8.2" in table.splitlines()[1] and "80.0 / nan" in table.splitlines()[1]
    assert len({len(line) for line in table.splitlines()}) == 1

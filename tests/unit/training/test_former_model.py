"""Checkpoints of a fold whose training begins anew."""

from pathlib import Path

from nnunetv2_crln.training.former_model import forget_validation, remove_former_model, set_former_model_aside

NAMES = ("checkpoint_best.pth", "checkpoint_final.pth", "checkpoint_latest.pth", "checkpoint_latest_previous.pth")


def content(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_no_checkpoint_of_a_former_model_keeps_its_name(tmp_path):
    lines: list[str] = []
    for name in NAMES:
        (tmp_path / name).write_text(name)
    (tmp_path / "validation").mkdir()
    for name in ("validation/summary.json", "validation/case.nii.gz", "plans.json"):
        (tmp_path / name).write_text(name)
    set_former_model_aside(tmp_path, lines.append)
    kept = {f"{name}.former": name for name in NAMES}
    assert content(tmp_path) == kept | {name: name for name in ("validation/case.nii.gz", "plans.json")}
    assert len(lines) == 1 and "checkpoint_final.pth" in lines[0] and ".former" in lines[0]

    remove_former_model(tmp_path)
    assert set(content(tmp_path)) == {"validation/case.nii.gz", "plans.json"}


def test_an_empty_fold_is_nothing_to_tell_of(tmp_path):
    lines: list[str] = []
    set_former_model_aside(tmp_path, lines.append)
    forget_validation(tmp_path)
    assert not lines and not list(tmp_path.iterdir())

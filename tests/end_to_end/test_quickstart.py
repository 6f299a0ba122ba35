"""docs/quickstart.ipynb with a training of a few steps, and what its model can do without this package."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from commands import TRAINERS, output_of, run

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
NOTEBOOK = ROOT / "docs" / "quickstart.ipynb"
SCHEDULE, SHORT = "epochs, steps = 20, 50", "epochs, steps = 2, 5"
TRAINER, PLANS = "nnUNetTrainer_CRLN_short", "nnUNetPlans_small"
MODEL = ["-d", "901", "-c", "3d_fullres", "-f", "all", "-p", PLANS, "-tr", TRAINER]
WITHOUT_THIS_PACKAGE = """
import sys
sys.modules["nnunetv2_crln"] = None
from nnunetv2.inference.predict_from_raw_data import predict_entry_point
predict_entry_point()
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1600)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the notebook has run."""
    folder = tmp_path_factory.mktemp("notebook")
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert SCHEDULE in code
    script = folder / "quickstart.py"
    script.write_text(code.replace(SCHEDULE, SHORT), encoding="utf-8")
    output_of(run([sys.executable, script], folder / "quickstart", cwd=folder, nnUNet_extTrainer=TRAINERS))
    return folder


@pytest.fixture(scope="module")
def fold(folder) -> Path:
    (found,) = (folder / "quickstart" / "results").glob(f"*/{TRAINER}__{PLANS}__3d_fullres/fold_all")
    return found


def test_the_notebook_is_committed_without_outputs():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)


def test_the_notebook_runs_to_the_overlay(folder, fold):
    work = folder / "quickstart"
    assert (work / "overlay.png").stat().st_size > 10_000
    assert len(list((work / "predicted").glob("*.nii.gz"))) == 1
    assert "<img " in (work / "report.html").read_text(encoding="utf-8")
    checkpoint = torch.load(fold / "checkpoint_final.pth", weights_only=True)
    assert checkpoint["logging"]["crln_supervised"][-1] < checkpoint["logging"]["crln_supervised"][0]


def test_nnunet_alone_predicts_the_same_from_an_export(folder):
    work = folder / "quickstart"
    export = [BIN / "nnUNetv2_crln_export", *MODEL, "-o", folder / "exported"]
    output_of(run(export, work))
    again = run(export, work)
    assert again.returncode == 2 and "exist" in again.stderr
    files = ["-i", work / "scans", "-o", folder / "alone", "-device", "cpu", "-npp", "0", "-nps", "0"]
    predict = [sys.executable, "-c", WITHOUT_THIS_PACKAGE, *MODEL, *files]
    output_of(run(predict, work, nnUNet_results=str(folder / "exported"), nnUNet_extTrainer=""))
    (predicted,) = (work / "predicted").glob("*.nii.gz")
    ours, alone = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(place / predicted.name)))
        for place in (work / "predicted", folder / "alone")
    )
    assert np.array_equal(ours, alone)

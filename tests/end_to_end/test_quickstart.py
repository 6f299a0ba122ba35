"""docs/quickstart.ipynb: its code runs from the first cell to the overlay, with a training of two steps."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "quickstart.ipynb"
SCHEDULE, TWO_STEPS = "epochs, steps = 20, 50", "epochs, steps = 1, 2"


def code_of_the_cells() -> str:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def test_the_notebook_is_committed_without_outputs():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)


@pytest.mark.slow
@pytest.mark.timeout(1600)
def test_the_notebook_runs_to_the_overlay(tmp_path):
    code = code_of_the_cells()
    assert SCHEDULE in code
    script = tmp_path / "quickstart.py"
    script.write_text(code.replace(SCHEDULE, TWO_STEPS), encoding="utf-8")
    environment = {
        **os.environ,
        "nnUNet_extTrainer": str(ROOT / "nnunetv2_crln" / "nnunet_trainers"),
        "nnUNet_n_proc_DA": "1",
        "nnUNet_def_n_proc": "1",
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "agg",
    }
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1500
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    work = tmp_path / "quickstart"
    assert (work / "overlay.png").stat().st_size > 10_000
    assert len(list((work / "predicted").glob("*.nii.gz"))) == 1
    assert "<img " in (work / "report.html").read_text(encoding="utf-8")

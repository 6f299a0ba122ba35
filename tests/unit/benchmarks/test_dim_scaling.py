"""The default aggregation trains with many classes without a tensor of classes x prototypes x voxels."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "cost" / "dim_scaling.py"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc")
@pytest.mark.parametrize(
    ("form", "grid", "share"),
    [("linear", 48, 0.5), ("nonlinear", 20, 0.7)],  # the maps alone: 850 MB and 61 MB
)
def test_sixty_classes_with_sixteen_prototypes(tmp_path, form, grid, share):
    arguments = ["--classes", "60", "--prototypes", "16", "--grids", grid, "--forms", form, "-o", tmp_path / "r.json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, SCRIPT, *map(str, arguments)], check=True, env=environment, capture_output=True)
    (result,) = json.loads((tmp_path / "r.json").read_text())["results"]
    assert result["finite"]
    assert result["peak_bytes"] < share * result["proximity_maps_bytes"]
    assert (tmp_path / "r.md").read_text(encoding="utf-8").startswith("Forward and backward")

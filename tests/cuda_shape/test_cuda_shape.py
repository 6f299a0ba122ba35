"""Everything a training does on a GPU, on the pretended CUDA device: devices, dtypes, missing operators, host waits.

One process (variants.py) runs all variants, because the pretended device must be there before torch is. So
SyncBatchNorm runs as on one GPU, where it is batch norm: its exchange between processes needs NCCL and a real driver.
"""

import json
import subprocess
import sys
from pathlib import Path

import pretended_cuda
import pytest
from variants import VARIANTS

SCRIPT = Path(__file__).with_name("variants.py")
reason = pretended_cuda.reason_against()
pytestmark = [pytest.mark.cuda_shape, pytest.mark.skipif(reason is not None, reason=str(reason))]


@pytest.fixture(scope="module")
def results() -> dict[str, dict]:
    done = subprocess.run(
        [sys.executable, SCRIPT], env=pretended_cuda.environment(), capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {result.pop("name"): result for result in found}


@pytest.fixture
def result(results, variant) -> dict:
    assert "error" not in results[variant], results[variant]["error"]
    return results[variant]


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_a_training_runs_on_the_device(result, variant):
    assert result["copies"] == [], "something but the batch is copied to the device in the second step"
    assert {device for device, _ in result["losses"].values()} == {"cuda:0"}
    assert {dtype for _, dtype in result["losses"].values()} == {"torch.float32"}
    assert result["parameters"] == ["torch.float32 cuda"]
    assert result["scaler"] == "GradScaler"
    assert result["fused"] is True
    assert result["validation"] == ["fn_hard", "fp_hard", "loss", "tp_hard"]
    assert result["monitoring"] == [32] * VARIANTS[variant].ndim
    assert result["checkpoint"] == ["cuda"], "momentum is not where the weights are"

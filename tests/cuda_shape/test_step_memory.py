"""What a step of CRLN needs beside plain nnU-Net's, against the committed measurement and the targets."""

import json
import subprocess
import sys

import pretended_cuda
import pytest
import step_memory

TOLERANCE = 1.03
reason = pretended_cuda.reason_against()
pytestmark = [
    pytest.mark.cuda_shape,
    pytest.mark.slow,
    pytest.mark.skipif(reason is not None, reason=str(reason)),
]


def peak_ratios(result: dict) -> dict[int, float]:
    """Peak of CRLN / peak of plain nnU-Net, by number of classes."""
    peaks = {int(classes): of for classes, of in result["classes"].items()}
    return {c: of["crln"]["peak_bytes"] / of["nnunet"]["peak_bytes"] for c, of in peaks.items()}


def test_the_committed_measurement_meets_the_targets():
    ratios = peak_ratios(json.loads(step_memory.RESULT.read_text()))
    assert {classes: ratios[classes] <= limit for classes, limit in step_memory.TARGETS.items()} == dict.fromkeys(
        step_memory.TARGETS, True
    ), ratios


def test_a_step_needs_no_more_memory_than_measured(tmp_path):
    """Sizes of tensors alone decide, so the measurement repeats exactly with the same version of torch."""
    result = tmp_path / "step_memory.json"
    classes = [str(number) for number in step_memory.TARGETS]
    command = [sys.executable, step_memory.__file__, "--methods", "crln", "--classes", *classes, "-o", result]
    done = subprocess.run(command, env=pretended_cuda.environment(), capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    found = peak_ratios(json.loads(result.read_text()))
    measured = peak_ratios(json.loads(step_memory.RESULT.read_text()))
    assert set(found) == set(step_memory.TARGETS)
    for number, ratio in found.items():
        assert ratio <= TOLERANCE * measured[number], f"{number} classes: {ratio:.3f}, measured {measured[number]:.3f}"

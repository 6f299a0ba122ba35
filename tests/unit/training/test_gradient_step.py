"""One optimiser step: clipping, and what happens to gradients that are not finite."""

import pytest
import torch
from torch import nn

from nnunetv2_crln.training.gradient_step import (
    MAX_GRADIENT_NORM,
    MAX_SKIPPED_IN_A_ROW,
    GradientStep,
)


def make_step(heads: nn.Module | None = None):
    network = nn.Linear(1, 1, bias=False)
    nn.init.ones_(network.weight)
    heads = heads or nn.Module()
    optimizer = torch.optim.SGD([*network.parameters(), *heads.parameters()], lr=1.0)
    warnings: list[str] = []
    return network, GradientStep(optimizer, network, heads, torch.device("cpu"), warnings.append), warnings


def test_a_step_is_plain_gradient_descent():
    network, step, warnings = make_step()
    step(3 * network.weight.sum(), None, 0)
    assert network.weight.item() == pytest.approx(1 - 3)
    assert warnings == [] and step.skipped_in_epoch(0) == 0


def test_network_and_heads_are_clipped_apart():
    heads = nn.Linear(1, 1, bias=False)
    nn.init.ones_(heads.weight)
    network, step, _ = make_step(heads)
    step((100 * network.weight + 2 * heads.weight).sum(), None, 0)
    assert network.weight.item() == pytest.approx(1 - MAX_GRADIENT_NORM, rel=1e-4)
    assert heads.weight.item() == pytest.approx(1 - 2)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_step_is_left_out_counted_and_named(bad):
    network, step, warnings = make_step()
    step(bad * network.weight.sum(), None, 7)
    assert network.weight.item() == 1
    assert len(warnings) == 1 and "iteration 7" in warnings[0]
    assert step.skipped_in_epoch(7) == 1
    assert step.skipped_in_epoch(8) == 0  # of this epoch, not in total


def test_too_many_bad_steps_in_a_row_end_the_training():
    network, step, _ = make_step()
    for number in range(MAX_SKIPPED_IN_A_ROW - 1):
        step(float("nan") * network.weight.sum(), None, number)
    step(network.weight.sum(), None, MAX_SKIPPED_IN_A_ROW)  # a good one starts the count anew
    for number in range(MAX_SKIPPED_IN_A_ROW - 1):
        step(float("nan") * network.weight.sum(), None, number)
    with pytest.raises(RuntimeError, match=r"20 iterations in a row .*lab_1 .*nnUNetv2_crln_doctor.*--c"):
        step(float("nan") * network.weight.sum(), None, 99, ["lab_1", "unl_2"])


def test_counts_survive_a_checkpoint():
    network, step, _ = make_step()
    step(float("nan") * network.weight.sum(), None, 0)
    _, resumed, _ = make_step()
    resumed.load_state_dict(step.state_dict())
    assert resumed.skipped_in_epoch(0) == 0 and resumed.check(0) == 1


def test_the_cases_of_a_skipped_step_are_named():
    network, step, warnings = make_step()
    step(float("nan") * network.weight.sum(), None, 7, ["lab_1", "unl_2", "lab_1"])
    assert len(warnings) == 1 and "(cases of the batch: lab_1, unl_2)" in warnings[0]


@pytest.mark.parametrize(("factor", "blamed"), [(float("nan"), True), (3e38, False)])
def test_with_a_scaler_a_bad_loss_names_its_cases_and_an_overflow_of_gradients_nobody(factor, blamed):
    network, step, warnings = make_step()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**4)  # 3e38 times 16 is no number of single precision
    step(factor * network.weight.sum(), scaler, 7, ["lab_1"])
    assert network.weight.item() == 1 and step.skipped_in_epoch(7) == 1
    assert ["lab_1 (1×)" in warning for warning in warnings] == [True] * blamed


def test_a_small_scale_is_named_once():
    _, step, warnings = make_step()
    step.tell_of_small_scale(None)
    for scale in (1.0, 0.25, 0.125):
        step.tell_of_small_scale(torch.amp.GradScaler("cpu", init_scale=scale))
    assert len(warnings) == 1
    assert all(part in warnings[0] for part in ("scaled by 0.25, expected 1 or more", "nnUNetv2_crln_doctor", "--c"))


def test_a_scaled_loss_leads_to_the_same_step():
    """The limit holds for the gradient itself, not for that of the scaled loss."""
    network, step, _ = make_step()
    step(3 * network.weight.sum(), torch.amp.GradScaler("cpu", init_scale=2.0**10), 0)
    assert network.weight.item() == pytest.approx(1 - 3)

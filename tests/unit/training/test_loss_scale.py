"""The scale of the loss follows overflows of gradients, and nothing else."""

import pytest
import torch

from nnunetv2_crln.training import loss_scale
from nnunetv2_crln.training.gradient_step import GradientStep
from nnunetv2_crln.training.loss_scale import with_usable_scale

SCALE = 2.0**4


def make_step(scale=SCALE, **options):
    network = torch.nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    step = GradientStep(optimizer, network, torch.nn.Module(), torch.device("cpu"), print)
    return network.weight, step, torch.amp.GradScaler("cpu", init_scale=scale, **options)


def state_of(scaler) -> tuple[float, int]:
    return scaler.get_scale(), scaler._get_growth_tracker()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_leaves_the_scale_as_it_is(bad):
    """It would collapse: halved by one step in 50, and doubled only after 2,000 good ones."""
    weight, step, scaler = make_step()
    for number in range(200):
        step((bad if number % 50 == 49 else 1.0) * weight.sum(), scaler, number)
    assert state_of(scaler) == (SCALE, 196)


def test_overflowing_gradients_of_a_finite_loss_halve_it():
    weight, step, scaler = make_step()
    step(weight.sum(), scaler, 0)
    step(3e38 * weight.sum() - 3e38 * weight.detach().sum(), scaler, 1)  # 3e38 times 16 is no number of float32
    assert state_of(scaler) == (SCALE / 2, 0)


def test_good_steps_let_it_grow():
    weight, step, scaler = make_step(growth_interval=2)
    for number in range(2):
        step(weight.sum(), scaler, number)
    assert state_of(scaler) == (2 * SCALE, 0)


def test_a_loss_of_another_process_that_is_not_finite_counts_everywhere(monkeypatch):
    """Its gradients reach all of them; a scale of its own would make the processes differ for good."""
    weight, step, scaler = make_step()
    monkeypatch.setattr(loss_scale, "sum_over_processes", lambda flag: flag + 1)
    step(3e38 * weight.sum() - 3e38 * weight.detach().sum(), scaler, 0)
    assert state_of(scaler) == (SCALE, 0)


def test_a_scaler_that_is_switched_off_does_nothing():
    weight, step, scaler = make_step(enabled=False)
    before = weight.item()
    step(weight.sum(), scaler, 0)
    assert weight.item() == pytest.approx(before - 0.01)


@pytest.mark.parametrize(("saved", "loaded"), [(2.0**-124, 65536.0), (0.5, 65536.0), (1.0, 1.0), (8.0, 8.0)])
def test_a_checkpoint_with_a_collapsed_scale_starts_with_the_initial_one(saved, loaded):
    state = torch.amp.GradScaler("cpu", init_scale=saved).state_dict()
    scaler = torch.amp.GradScaler("cpu")
    scaler.load_state_dict(with_usable_scale(state, scaler.get_scale()))
    assert scaler.get_scale() == loaded

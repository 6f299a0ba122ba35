"""Gradient norms of loss terms at shared features, against gradients taken one by one."""

import math

import pytest
import torch

from nnunetv2_crln.training.method import gradient_norms as module
from nnunetv2_crln.training.method.gradient_norms import GradientBalance, gradient_norms


def losses_of(shared: torch.Tensor) -> dict[str, torch.Tensor]:
    layer = torch.nn.Linear(4, 3)
    return {"supervised": layer(shared).square().sum(), "cps": shared.sin().sum(), "loss": shared.sum()}


def test_norms_are_those_of_each_term_alone():
    shared = torch.randn(2, 4, requires_grad=True)
    losses = losses_of(shared)
    norms = gradient_norms(losses, shared)
    assert set(norms) == {"supervised", "cps"}
    assert norms["cps"].item() == pytest.approx(shared.detach().cos().norm().item(), rel=1e-6)
    (direct,) = torch.autograd.grad(losses["supervised"], shared)  # the graph is still there
    assert norms["supervised"].item() == pytest.approx(direct.norm().item(), rel=1e-6)


def test_a_term_that_does_not_depend_on_the_features_has_no_norm():
    norms = gradient_norms({"supervised": torch.ones(1, requires_grad=True).sum()}, torch.ones(1, requires_grad=True))
    assert math.isnan(norms["supervised"])


def test_gradients_too_small_for_half_precision_are_measured():
    shared = torch.ones(8, dtype=torch.float16, requires_grad=True)
    norms = gradient_norms({"supervised": 1e-9 * shared.float().sum()}, shared)
    assert norms["supervised"].item() == pytest.approx(1e-9 * 8**0.5, rel=1e-2)


def test_parameters_get_no_gradient_from_the_look():
    shared = torch.randn(2, 4, requires_grad=True)
    layer = torch.nn.Linear(4, 3)
    gradient_norms({"supervised": layer(shared).sum()}, shared)
    assert layer.weight.grad is None and shared.grad is None


def test_the_balance_does_not_begin_with_a_guess():
    """Norms as on the left atrium: from a factor of 1, half of a short training would pass before the balance."""
    balance = GradientBalance()
    balance.update(torch.tensor(math.nan), torch.tensor(0.3))
    balance.update(torch.tensor(0.0033), torch.tensor(0.3))
    assert balance.factor.item() == pytest.approx(0.011)
    balance.update(torch.tensor(0.0099), torch.tensor(0.3))
    assert balance.factor.item() == pytest.approx(0.022)


def test_a_balance_of_an_earlier_version_goes_on():
    balance = GradientBalance()
    balance.load_state_dict({"factor": torch.tensor(0.5)})
    balance.update(torch.tensor(1.0), torch.tensor(1.0))
    assert balance.factor.item() == pytest.approx(0.55)


def test_balanced_terms_pull_alike_after_some_steps():
    balance = GradientBalance()
    for _ in range(100):
        balance.update(torch.tensor(0.6), torch.tensor(2.0))
    assert balance.factor.item() == pytest.approx(0.3, rel=1e-3)


@pytest.mark.parametrize(("reference", "term"), [(1.0, 0.0), (0.0, 1.0), (math.nan, 1.0), (1.0, math.nan), (0.0, 0.0)])
def test_norms_of_no_use_change_no_balance(reference, term):
    balance = GradientBalance()
    balance.update(torch.tensor(0.5), torch.tensor(1.0))
    before = balance.factor.clone()
    balance.update(torch.tensor(reference), torch.tensor(term))
    assert torch.equal(balance.factor, before)


def test_the_processes_of_a_distributed_training_balance_alike(monkeypatch):
    monkeypatch.setattr(module, "sum_over_processes", lambda values: values + torch.tensor([3.0, 1.0]))
    balance = GradientBalance()
    for _ in range(200):
        balance.update(torch.tensor(1.0), torch.tensor(1.0))
    assert balance.factor.item() == pytest.approx(4 / 2)

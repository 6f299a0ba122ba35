"""The added modules in the optimiser of nnU-Net's trainer."""

import pytest
import torch
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR

from nnunetv2_crln.training.heads_optimiser import train_heads_too, with_heads_in_last_group


def parts(groups: int = 1):
    networks = [torch.nn.Linear(2, 1) for _ in range(groups)]
    optimiser = torch.optim.SGD([{"params": list(n.parameters())} for n in networks], lr=0.1, momentum=0.9)
    return optimiser, torch.nn.Linear(3, 1)


@pytest.mark.parametrize(
    "schedule",
    [
        lambda optimiser: PolyLRScheduler(optimiser, 0.1, 4),
        lambda optimiser: CosineAnnealingLR(optimiser, T_max=4),
        lambda optimiser: LambdaLR(optimiser, lambda epoch: 1 - epoch / 4),
    ],
    ids=["polynomial", "cosine", "any function"],
)
@pytest.mark.filterwarnings("ignore")  # nnU-Net gives the epoch to the schedule, of which torch warns
def test_every_schedule_sets_the_rate_of_the_heads(schedule):
    """nnU-Net makes the schedule before the heads exist; torch's know only the groups of that moment."""
    optimiser, heads = parts()
    made = schedule(optimiser)
    train_heads_too(optimiser, heads.parameters())
    made.step(2)
    rates = {p: group["lr"] for group in optimiser.param_groups for p in group["params"]}
    assert len(rates) == 4 and {rates[p] for p in heads.parameters()} == {optimiser.param_groups[0]["lr"]}
    assert optimiser.param_groups[0]["lr"] < 0.1


def test_what_is_trained_already_is_not_added_again():
    optimiser, heads = parts()
    for _ in range(2):
        train_heads_too(optimiser, heads.parameters())
    assert len(optimiser.param_groups[0]["params"]) == 4


@pytest.mark.parametrize("groups", [1, 2])
def test_a_checkpoint_with_a_group_for_the_heads_goes_on(groups):
    torch.manual_seed(0)
    former, former_heads = parts(groups)
    former.add_param_group({"params": list(former_heads.parameters()), "lr": 0.1})
    present, heads = parts(groups)
    train_heads_too(present, heads.parameters())
    for group in former.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.randn_like(parameter)
    former.step()
    state = former.state_dict()
    present.load_state_dict(with_heads_in_last_group(state, present))
    for a, b in zip(former_heads.parameters(), heads.parameters(), strict=True):
        assert torch.equal(former.state[a]["momentum_buffer"], present.state[b]["momentum_buffer"])
    assert len(state["param_groups"]) == groups + 1
    now = present.state_dict()
    assert with_heads_in_last_group(now, present) is now

"""The step in half precision beside the step in single precision, and values as large as they become on a GPU."""

import contextlib
from types import SimpleNamespace

import pytest
import torch
import workbench
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from nnunetv2.utilities.helpers import softmax_helper_dim1
from workbench_data import nnunet_paths_in, tiny_setting

from nnunetv2_crln.losses import cooperative_positive_supervision as cps
from nnunetv2_crln.losses.consistency import consistency_loss
from nnunetv2_crln.losses.pseudo_label import PseudoLabelLoss
from nnunetv2_crln.losses.recomputation import recomputed_if_large
from nnunetv2_crln.modules.dim import PrototypeAttention
from nnunetv2_crln.training.method.crln import Batch
from nnunetv2_crln.training.method.phases import Phase
from nnunetv2_crln.training.variants import nnUNetTrainer_CRLN

HALF = [torch.bfloat16]
if tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 5):  # older ones have no float16 autocast on a CPU
    HALF.append(torch.float16)
SCALE = 1024.0
"""Of the losses, as GradScaler's: without it gradients vanish in float16."""


class Decisions:
    """Discrete decisions of a step, taken the first time and repeated afterwards."""

    def __init__(self) -> None:
        self.taken: list = []
        self._next = 0

    def replay(self) -> None:
        self._next = 0

    def __call__(self, decide):
        def decided(*args, **kwargs):
            if self._next == len(self.taken):
                self.taken.append(decide(*args, **kwargs))
            self._next += 1
            return self.taken[self._next - 1]

        return decided


@pytest.fixture(scope="module")
def step(tmp_path_factory):
    """A trainer after a few steps, with a batch; every class has anchors and confident pseudo labels."""
    torch.set_num_threads(1)
    work = tmp_path_factory.mktemp("half")
    setting = tiny_setting(num_anchors=32, num_negatives=64, confidence_threshold=0.4, cps_confidence=0.4, cps_weight=1)
    with nnunet_paths_in(work):
        trainer = workbench.build_trainer(nnUNetTrainer_CRLN, work, workbench.write_cases(work, setting), "cpu")
        batch = workbench.draw_batch(trainer)
        for _ in range(3):
            trainer.train_step(batch)
        yield SimpleNamespace(method=trainer.method, batch=Batch.on_device(batch, trainer.device))


def losses_and_gradients(step, dtype: torch.dtype | None) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Losses by name, and the gradient of each with respect to all weights as one vector."""
    method = step.method
    parameters = [p for module in (method.student, method.heads) for p in module.parameters()]
    context = contextlib.nullcontext() if dtype is None else torch.autocast("cpu", dtype=dtype)
    torch.manual_seed(0)
    with context:
        losses = method.forward(step.batch, Phase(rectifying=True, ramp=1.0), 0).losses
    gradients = {}
    for name, loss in losses.items():
        found = torch.autograd.grad(SCALE * loss, parameters, retain_graph=True, allow_unused=True)
        gradients[name] = torch.cat([g.flatten() / SCALE for g in found if g is not None])
    return {name: loss.item() for name, loss in losses.items()}, gradients


def deviation(found: torch.Tensor, expected: torch.Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_losses_and_gradients_deviate_little_where_the_same_voxels_are_drawn(step, monkeypatch, dtype):
    same = Decisions()
    monkeypatch.setattr(cps, "sample_per_class", same(cps.sample_per_class))
    monkeypatch.setattr(cps, "draw_negatives", same(cps.draw_negatives))
    monkeypatch.setattr(step.method, "pseudo_labels", same(step.method.pseudo_labels))
    expected, expected_gradients = losses_and_gradients(step, None)
    same.replay()
    found, gradients = losses_and_gradients(step, dtype)
    assert {"supervised", "consistency", "relationship_map", "cps"} <= set(expected)
    bound = {torch.float16: (0.002, 0.02), torch.bfloat16: (0.02, 0.15)}[dtype]
    print({n: (found[n] / expected[n] - 1, deviation(gradients[n], expected_gradients[n])) for n in expected})
    for name, value in expected.items():
        assert value != 0, name
        assert found[name] == pytest.approx(value, rel=bound[0]), name
        assert deviation(gradients[name], expected_gradients[name]) < bound[1], name


def test_other_voxels_change_the_gradient_of_cps_far_more_than_half_precision_does(step):
    """What a comparison without the same voxels would show."""
    _, expected = losses_and_gradients(step, None)
    _, gradients = losses_and_gradients(step, torch.bfloat16)
    print(deviation(gradients["cps"], expected["cps"]))
    assert deviation(gradients["cps"], expected["cps"]) > 0.15


# ---------------------------------------------------------------------------- magnitudes


def nnunets_loss() -> PseudoLabelLoss:
    return PseudoLabelLoss(MemoryEfficientSoftDiceLoss(softmax_helper_dim1, do_bg=False, smooth=1e-5, ddp=False))


@pytest.mark.parametrize("loss", [consistency_loss, nnunets_loss()], ids=["cross-entropy", "nnU-Net's"])
def test_losses_of_extreme_logits_are_finite(loss):
    """Logits near the largest float16, of 60 classes: their sum over voxels exceeds it by far."""
    logits = (6e4 * torch.rand(1, 60, 10, 20) - 3e4).half().requires_grad_()
    labels, weight = torch.randint(0, 60, (1, 10, 20)), torch.ones(1, 10, 20)
    value = recomputed_if_large(loss, logits, labels, weight)
    value.backward()
    expected = loss(logits.detach().double().float(), labels, weight)
    assert value.item() == pytest.approx(expected.item(), rel=1e-4)
    assert torch.isfinite(logits.grad).all()


def test_dice_sums_more_voxels_than_float16_can_count():
    """A class of 131,072 voxels: 65,504 is the largest float16, and from 2,048 on it cannot count by ones."""
    logits = torch.full((1, 2, 1, 1 << 17), 8.0).half()
    logits[:, 0] = -8
    labels, weight = torch.ones(1, 1, 1 << 17, dtype=torch.int64), torch.ones(1, 1, 1 << 17)
    assert nnunets_loss()(logits, labels, weight).item() == pytest.approx(-1, abs=1e-3)


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_attention_over_as_many_tokens_as_a_patch_of_128_has(dtype):
    """Softmax shares of 1 / 262,144 lie among float16's smallest numbers."""
    torch.manual_seed(0)
    block, features = PrototypeAttention(8), torch.randn(1, 8, 64, 64, 64)
    prototypes = torch.randn(3, 8)
    with torch.no_grad():
        expected = block(prototypes, 100 * features)
        with torch.autocast("cpu", dtype=dtype):
            found = block(prototypes, 100 * features).float()
    assert deviation(found, expected) < 0.02


def test_representations_of_features_in_float16_have_gradients_at_the_scalers_scale():
    """65,536 is the scaler's first scale; a pull on few voxels is the largest gradient of the step."""
    from nnunetv2_crln.modules.representation import RepresentationHead

    torch.manual_seed(0)
    features = torch.randn(1, 8, 4, 4, 4).half().requires_grad_()
    head = RepresentationHead(8, 16)
    labels = torch.arange(64) % 2
    yes = torch.ones(64, dtype=torch.bool)
    loss = cps.cooperative_positive_supervision(
        lambda voxels: head(features, voxels), labels, yes, yes, 2, None, 0.6, num_anchors=8, num_negatives=16
    )
    (65536 * loss).backward()
    assert torch.isfinite(features.grad).all() and features.grad.any()

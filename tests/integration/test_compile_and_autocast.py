"""torch.compile and autocast around the whole step: student, teacher, DIM and losses."""

import copy
import functools
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import workbench
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from workbench_data import nnunet_paths_in, tiny_setting

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.training import variants


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Make a preprocessed dataset, for a network with two resolutions of deep supervision as nnU-Net's have."""
    torch.set_num_threads(1)
    work = tmp_path_factory.mktemp("compile")
    setting = replace(tiny_setting(num_negatives=16), features=(4, 8, 8, 8), convolutions=(1, 1, 1, 1))
    with nnunet_paths_in(work):
        yield SimpleNamespace(work=work, plans=workbench.write_cases(work, setting))


def build(data, device="cpu", **crln):
    return workbench.build_trainer(variants.nnUNetTrainer_CRLN, data.work, data.plans, device, **crln)


def losses(trainer, batch, steps: int) -> list[dict]:
    return [{name: value.float().cpu() for name, value in trainer.train_step(batch).items()} for _ in range(steps)]


def assert_equal(found: list[dict], expected: list[dict], **tolerance) -> None:
    for a, b in zip(found, expected, strict=True):
        for name in [name for name in b if not name.startswith("gradient_")]:  # not measured in every step
            torch.testing.assert_close(a[name], b[name], msg=lambda text, name=name: f"{name}: {text}", **tolerance)


def graphs() -> int:
    """How many graphs torch.compile has made so far."""
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


def with_batch_norm(plans: dict) -> dict:
    plans = copy.deepcopy(plans)
    kwargs = plans["configurations"][workbench.CONFIGURATION]["architecture"]["arch_kwargs"]
    kwargs["norm_op"] = "torch.nn.BatchNorm3d"
    return plans


def in_two_dimensions(plans: dict) -> dict:
    """Change the plans for a 2d network; the same cases serve, slice by slice."""
    plans = copy.deepcopy(plans)
    configuration = plans["configurations"][workbench.CONFIGURATION]
    configuration["patch_size"] = [16, 16]
    kwargs = configuration["architecture"]["arch_kwargs"]
    for name in ("kernel_sizes", "strides"):
        kwargs[name] = [sizes[:2] for sizes in kwargs[name]]
    for name in ("conv_op", "norm_op"):
        kwargs[name] = kwargs[name].replace("3d", "2d")
    return plans


@pytest.fixture
def compile_as_on_cuda(monkeypatch):
    """Return a function that lets nnU-Net compile from then on, which it does on CUDA alone.

    This backend makes the same graphs, feature taps and backward pass included, and does all but generate code.
    """
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()

    def start() -> None:
        monkeypatch.setattr(nnUNetTrainer, "_do_i_compile", lambda self: True)
        monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))

    def backend(graph: torch.fx.GraphModule, inputs: list) -> Any:
        if any("conv" in str(node.target) for node in graph.graph.nodes):
            start.networks.append([value for value in inputs if isinstance(value, torch.SymInt)])
        return torch._dynamo.lookup_backend("aot_eager")(graph, inputs)

    start.networks = []  # what is a variable in the graph of each network
    return start


@pytest.mark.parametrize(
    ("change", "crln"),
    [
        (copy.deepcopy, {"gradient_norm_every": 1}),
        (with_batch_norm, {"gradient_norm_every": 1, "cpu_bfloat16": True}),
        (in_two_dimensions, {"gradient_norm_every": 1}),
    ],
    ids=["instance norm", "batch norm in bfloat16", "2d"],
)
def test_compiled_steps_equal_eager_ones(data, compile_as_on_cuda, change, crln):
    data = SimpleNamespace(work=data.work, plans=change(data.plans))
    eager = build(data, **crln)
    batch = workbench.draw_batch(eager)
    expected = losses(eager, batch, 3)
    compile_as_on_cuda()
    compiled = build(data, **crln)
    assert hasattr(compiled.network, "_orig_mod")
    assert hasattr(compiled.method.teacher_network, "_orig_mod")
    labelled = {name: batch[name] for name in ("data", "target")}
    found = losses(compiled, batch, 2)
    compiled.validation_step(labelled)
    made = graphs()
    found += losses(compiled, batch, 1)
    compiled.validation_step(labelled)
    assert not compiled.method.student_taps._features and not compiled.method.teacher_taps._features
    assert made >= 3
    assert graphs() == made, "compiled anew in a later step"
    assert len(compile_as_on_cuda.networks) >= 2
    assert not any(compile_as_on_cuda.networks), "the batch size is a variable, which costs speed"
    tolerance = {"rtol": 0.05, "atol": 0.01} if "cpu_bfloat16" in crln else {"rtol": 1e-3, "atol": 1e-4}
    assert_equal(found, expected, **tolerance)
    for a, b in zip(found, expected, strict=True):
        assert torch.isnan(a["gradient_supervised"]), "hidden inside of the compiled network"
        torch.testing.assert_close(a["gradient_cps"], b["gradient_cps"], rtol=10 * tolerance["rtol"], atol=0)


def test_balancing_by_gradients_is_refused_in_a_compiled_network(data, compile_as_on_cuda):
    compile_as_on_cuda()
    with pytest.raises(UserError, match=r'"cps_balance": "gradient".*nnUNet_compile=f'):
        build(data, cps_balance="gradient")


def test_final_validation_compiles_one_graph(data, compile_as_on_cuda):
    """The sliding window calls the network again and again, and nobody takes the features."""
    compile_as_on_cuda()
    trainer = build(data)
    image = torch.zeros(1, 1, 16, 16, 16)
    with torch.no_grad(), trainer.deployed_network():
        trainer.set_deep_supervision_enabled(False)
        trainer.network.eval()
        trainer.network(image)
        made = graphs()
        for _ in range(3):
            trainer.network(image)
        assert not trainer.method.teacher_taps._features, "kept for nobody"
    assert made and graphs() == made


def test_bfloat16_on_a_cpu(data):
    full, half = build(data, cpu_bfloat16=False), build(data, cpu_bfloat16=True)
    batch = workbench.draw_batch(full)
    expected, found = losses(full, batch, 3), losses(half, batch, 3)
    assert all(torch.isfinite(value) for step in found for name, value in step.items() if "gradient" not in name)
    assert found[0]["loss"] != expected[0]["loss"], "nothing ran in bfloat16"
    assert_equal([{"loss": step["loss"]} for step in found], [{"loss": step["loss"]} for step in expected],
                 rtol=0.1, atol=0.05)  # fmt: skip
    assert all(p.dtype == torch.float32 for p in half.network.parameters())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("compiled", [False, True])
def test_amp_and_compile_on_cuda(data, monkeypatch, compiled):
    monkeypatch.setenv("nnUNet_compile", str(compiled))
    trainer = build(data, "cuda")
    assert hasattr(trainer.network, "_orig_mod") == compiled
    assert trainer.grad_scaler is not None
    found = losses(trainer, workbench.draw_batch(trainer, pin_memory=True), 6)
    assert all(torch.isfinite(step["loss"]) for step in found)
    assert found[-1]["supervised"] < found[0]["supervised"]

"""Two processes train as one with their joint batch; gloo on the CPU, as nnU-Net's launcher needs a GPU for each."""

import contextlib
import copy
import datetime
import multiprocessing
import sys
import traceback
from types import SimpleNamespace

import nnunetv2.training.nnUNetTrainer.nnUNetTrainer as nnunet_trainer
import pytest
import torch
import workbench
from nnunetv2.training.nnUNetTrainer.variants.network_architecture.nnUNetTrainerNoDeepSupervision import (
    nnUNetTrainerNoDeepSupervision,
)
from tiny_training import weights
from workbench_data import nnunet_paths_in, tiny_setting

from nnunetv2_crln.training import variants
from nnunetv2_crln.utilities.wrapped_network import unwrap

WORLD = 2
STEPS = 2
# nnU-Net gives the lowest resolution, which one process leaves out, a weight of 1e-6 where there are several.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Make a preprocessed dataset and plans for four labelled and four unlabelled patches."""
    torch.set_num_threads(1)
    work = tmp_path_factory.mktemp("distributed")
    with nnunet_paths_in(work):
        yield SimpleNamespace(work=work, plans=workbench.write_cases(work, tiny_setting(4, num_negatives=16)))


def build(data, name, batch_dice=False, **crln):
    plans = copy.deepcopy(data.plans)
    plans["configurations"][workbench.CONFIGURATION]["batch_dice"] = batch_dice
    # bfloat16, which some processors have, rounds too coarsely for a comparison of sums in another order.
    settings = {"cpu_bfloat16": False, **crln}
    return workbench.build_trainer(getattr(variants, name), data.work, plans, "cpu", **settings)


def joint_batch(trainer) -> dict:
    """Without CutMix: samples mix within a process."""
    batch = workbench.draw_batch(trainer)
    return {**batch, "boxes": torch.zeros_like(batch["boxes"])}


def part(batch: dict, rank: int) -> dict:
    def cut(value):
        return [cut(v) for v in value] if isinstance(value, list) else value.chunk(WORLD)[rank]

    keys = ("data", "target", "unlabelled_weak", "unlabelled_strong", "boxes", "flips", "pasted")
    return {key: cut(batch[key]) for key in keys}


def result_of(trainer, outputs) -> dict:
    return {"outputs": outputs, "weights": weights(trainer), "seed": trainer.seed}


class nnUNetTrainer_CRLN_NoDeepSupervision(variants.nnUNetTrainer_CRLN, nnUNetTrainerNoDeepSupervision):
    """A trainer of one's own."""


class TorchWithoutCUDA:
    """torch, as nnU-Net's trainer sees it, with the CPU for every device it asks for."""

    def __getattr__(self, name):
        return (lambda *a, **k: torch.device("cpu")) if name == "device" else getattr(torch, name)


@contextlib.contextmanager
def distributed(folder, rank, world):
    """Let nnU-Net's trainer train on the CPU as one of several processes."""
    with pytest.MonkeyPatch.context() as patch:
        if sys.platform == "linux":
            patch.setenv("GLOO_SOCKET_IFNAME", "lo")  # a machine's name need not lead to an address
        patch.setattr(nnunet_trainer, "torch", TorchWithoutCUDA())
        patch.setattr(nnunet_trainer, "DDP", lambda net, device_ids: torch.nn.parallel.DistributedDataParallel(net))
        torch.distributed.init_process_group(
            "gloo",
            init_method=f"file://{folder}/rendezvous",
            rank=rank,
            world_size=world,
            timeout=datetime.timedelta(seconds=300),
        )
        try:
            yield
        finally:
            torch.distributed.destroy_process_group()


def process(rank, data, batch, folder, name, options):
    torch.set_num_threads(1)
    try:
        with distributed(folder, rank, WORLD):
            trainer = build(data, name, **options)
            assert trainer.is_ddp
            assert trainer.batch_size == 4 // WORLD
            outputs = [trainer.train_step(part(batch, rank)) for _ in range(STEPS)]
            torch.save(result_of(trainer, outputs), folder / f"{rank}.pth")
    except Exception:
        (folder / f"{rank}.txt").write_text(traceback.format_exc())
        raise


def in_two_processes(data, batch, folder, name, **options) -> list[dict]:
    context = multiprocessing.get_context("fork")  # everything is imported already
    processes = [context.Process(target=process, args=(r, data, batch, folder, name, options)) for r in range(WORLD)]
    for p in processes:
        p.start()
    for p in processes:
        p.join(400)
    errors = "\n".join(file.read_text() for file in sorted(folder.glob("*.txt")))
    assert [p.exitcode for p in processes] == [0] * WORLD, errors
    return [torch.load(folder / f"{rank}.pth") for rank in range(WORLD)]


def assert_same_weights(a: dict, b: dict, **tolerance) -> None:
    assert a.keys() == b.keys()
    for key in a:
        torch.testing.assert_close(a[key], b[key], msg=lambda text, key=key: f"{key}: {text}", **tolerance)


@pytest.mark.parametrize("batch_dice", [False, True])
def test_two_processes_equal_one(data, tmp_path, batch_dice):
    # nnU-Net's loss on pseudo labels takes its means over the confident voxels of each process.
    options = {"batch_dice": batch_dice, "seed": 3, "pseudo_label_loss": "cross_entropy"}
    alone = build(data, "nnUNetTrainer_CRLN_noCPS", **options)
    batch = joint_batch(alone)
    outputs = [alone.train_step(copy.deepcopy(batch)) for _ in range(STEPS)]
    expected = result_of(alone, outputs)
    ranks = in_two_processes(data, batch, tmp_path, "nnUNetTrainer_CRLN_noCPS", **options)
    for step in range(STEPS):
        for term, value in expected["outputs"][step].items():
            mean = sum(rank["outputs"][step][term] for rank in ranks) / WORLD
            torch.testing.assert_close(mean, value, msg=lambda text, term=term: f"{term}: {text}", **CLOSE)
    for rank in ranks:
        assert_same_weights(rank["weights"], expected["weights"], **CLOSE)


def test_processes_stay_equal_without_a_given_seed(data, tmp_path):
    batch = joint_batch(build(data, "nnUNetTrainer_CRLN", seed=3))
    first, second = in_two_processes(data, batch, tmp_path, "nnUNetTrainer_CRLN", seed=None)
    assert first["seed"] == second["seed"]
    assert_same_weights(first["weights"], second["weights"], rtol=0, atol=0)
    # Each draws anchors and negatives of its own patches.
    assert first["outputs"][0]["cps"] > 0
    assert first["outputs"][0]["cps"] != second["outputs"][0]["cps"]


@pytest.mark.parametrize("trainer_class", [nnUNetTrainer_CRLN_NoDeepSupervision, variants.nnUNetTrainer_article])
def test_without_deep_supervision_every_trained_parameter_has_a_gradient(data, tmp_path, trainer_class):
    """DistributedDataParallel refuses the second step otherwise; one process is enough for that."""
    with distributed(tmp_path, 0, 1):
        trainer = workbench.build_trainer(trainer_class, data.work, data.plans, "cpu")
        batch = workbench.draw_batch(trainer)
        for _ in range(STEPS):
            trainer.train_step(batch)
    network = unwrap(trainer.network)
    frozen = {name for name, p in network.named_parameters() if not p.requires_grad}
    assert frozen and all("seg_layers" in name for name in frozen)
    assert all((p.grad is None) == (name in frozen) for name, p in network.named_parameters())


def test_a_checkpoint_without_deep_supervision_fits_a_network_with_it(data):
    without = workbench.build_trainer(nnUNetTrainer_CRLN_NoDeepSupervision, data.work, data.plans, "cpu")
    deep = workbench.build_trainer(variants.nnUNetTrainer_CRLN, data.work, data.plans, "cpu")
    unwrap(deep.network).load_state_dict(unwrap(without.network).state_dict())
    assert all(p.requires_grad for p in deep.network.parameters())

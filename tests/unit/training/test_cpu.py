"""Choices for training on a CPU."""

import os
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from nnunetv2_crln.training import baseline, cpu
from nnunetv2_crln.training.baseline import SupervisedBaseline

X86 = "processor\t: 0\nflags\t\t: fpu sse2 avx2 {}\nbugs\t\t: none\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd {}\n"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (X86.format("avx512_bf16"), True),
        (X86.format("amx_bf16 amx_tile"), True),
        (X86.format("avx512f"), False),
        (X86.format("avx512_bf16x"), False),
        (ARM.format("bf16"), True),
        (ARM.format("sve"), False),
        ("", False),
    ],
)
def test_bfloat16_instructions_are_read_from_the_processors_flags(tmp_path, monkeypatch, text, found):
    monkeypatch.setattr(cpu, "CPUINFO", tmp_path / "cpuinfo")
    assert not cpu.has_bfloat16_instructions()  # the system does not say
    cpu.CPUINFO.write_text(text)
    assert cpu.has_bfloat16_instructions() == found
    assert cpu.chosen_bfloat16("auto") == found
    assert cpu.chosen_bfloat16(True) and not cpu.chosen_bfloat16(False)
    assert not cpu.chosen_bfloat16("auto", safe=False) and cpu.chosen_bfloat16(True, safe=False)


@pytest.mark.parametrize(
    ("patch_size", "strides", "found"),
    [
        ((16, 16, 16), [[1, 1, 1], [2, 2, 2], [2, 2, 2], [2, 2, 2]], True),
        ((16, 16, 16), [[1, 1, 1], [2, 2, 2], [2, 2, 2]], False),
        ((24, 40, 40), [1, 2, 2, 2], False),
        ((20, 16, 16), [1, 2, 2, 2, 2], True),  # 20, 10, 5, 3, 2
        ((4, 64, 64), [[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2]], True),  # 4, 4, 2, 1
        ((16, 16), [[1, 1], [2, 2], [2, 2], [2, 2]], False),
        ((8, 8, 8), [], False),
    ],
)
def test_stages_of_depth_two_are_found(patch_size, strides, found):
    assert cpu.has_stage_of_depth_two(patch_size, strides) == found


@pytest.mark.parametrize(
    ("setting", "device", "ndim", "chosen"),
    [
        ("auto", "cpu", 3, True),
        ("auto", "cpu", 2, False),
        ("auto", "cuda", 3, False),
        ("auto", "mps", 3, False),
        ("channels_last", "cuda", 2, True),
        ("contiguous", "cpu", 3, False),
    ],
)
def test_memory_format_is_chosen_by_the_device(setting, device, ndim, chosen):
    assert cpu.chosen_channels_last(setting, torch.device(device), ndim) == chosen


def test_a_wrapped_network_keeps_its_layout_even_in_a_distributed_training_of_one_process(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 1)
    assert not cpu.chosen_channels_last("channels_last", torch.device("cuda"), 3)


@pytest.mark.parametrize("ndim", [2, 3])
def test_layout_changes_no_result(ndim):
    conv, norm = ((nn.Conv2d, nn.InstanceNorm2d), (nn.Conv3d, nn.InstanceNorm3d))[ndim - 2]
    network = nn.Sequential(conv(2, 8, 3, padding=1), norm(8, affine=True), nn.LeakyReLU(), conv(8, 3, 1))
    image = torch.randn(2, 2, *[6] * ndim)
    expected = network(image)
    cpu.apply_memory_format(network, "channels_last", torch.device("cpu"), ndim)
    assert network[0].weight.stride(1) == 1  # channels lie next to each other
    torch.testing.assert_close(network(image), expected, check_stride=False)


COUNT_MAPPED_BLOCKS = """
import ctypes, sys, torch
from nnunetv2_crln.training.cpu import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()

class Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")]

mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Mallinfo2
before = mallinfo2().hblks
large = torch.ones(16_000_000)
print(mallinfo2().hblks - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators")
@pytest.mark.parametrize(("kind", "mapped"), [("default", 1), ("keep", 0)])
def test_large_tensors_come_from_memory_that_the_process_keeps(kind, mapped):
    """In a process of its own, as the allocator's settings are for good; mapped blocks go back to the system."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", COUNT_MAPPED_BLOCKS, kind]
    result = subprocess.run(command, capture_output=True, check=True, env=environment)
    assert int(result.stdout) == mapped


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(cpu.platform, "libc_ver", lambda: ("", ""))
    assert not cpu.keep_freed_memory()


@pytest.mark.parametrize(
    ("value", "device", "used"), [("1", "cpu", 1), ("", "cpu", 3), ("all", "cpu", 3), ("1", "cuda", 3)]
)
def test_omp_num_threads_is_obeyed(monkeypatch, value, device, used):
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    torch.set_num_threads(3)  # as nnU-Net does
    try:
        cpu.use_requested_threads(torch.device(device))
        assert torch.get_num_threads() == used
    finally:
        torch.set_num_threads(before)


class Stock:
    """What the baseline needs of nnU-Net's trainer."""

    local_rank = 1  # only the first process locks folders, which this one lacks
    enable_deep_supervision = True
    preprocessed_dataset_folder = configuration_name = None  # the checks of plans and data are left out
    plans_manager = SimpleNamespace(plans={})

    def __init__(self, device: str, **block) -> None:
        self.device = torch.device(device)
        self.configuration_manager = SimpleNamespace(configuration={"crln": block}, patch_size=[4, 4, 4])

    def initialize(self) -> None:
        self.network = self.build_network_architecture()

    @staticmethod
    def build_network_architecture() -> nn.Module:
        return nn.Conv3d(2, 2, 3)

    def on_train_start(self) -> None:
        self.started = True

    def print_to_log_file(self, line: str) -> None:
        self.printed = line

    def train_step(self, batch: dict) -> dict:
        return {"autocast": torch.is_autocast_enabled("cpu")}

    validation_step = train_step


class Trainer(SupervisedBaseline, Stock):
    """A supervised trainer with the mixin."""


@pytest.mark.parametrize(
    ("device", "wanted", "chosen"), [("cpu", True, True), ("cpu", False, False), ("cuda", True, False)]
)
def test_the_supervised_baseline_computes_as_the_settings_say(monkeypatch, device, wanted, chosen):
    kept = []
    monkeypatch.setattr(cpu, "keep_freed_memory", lambda: kept.append(True))
    for check in ("check_plans", "require_labelled_data"):
        monkeypatch.setattr(baseline, check, lambda *_: None)
    trainer = Trainer(device, cpu_bfloat16=wanted)
    trainer.initialize()
    trainer.on_train_start()
    assert trainer.started and bool(kept) == (device == "cpu")
    assert (trainer.network.weight.stride(1) == 1) == (device == "cpu")
    assert trainer.train_step({})["autocast"] == trainer.validation_step({})["autocast"] == chosen

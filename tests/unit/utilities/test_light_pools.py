import multiprocessing
import os
import threading

import pytest

from nnunetv2_crln.utilities import light_pools as module
from nnunetv2_crln.utilities.light_pools import light_pools, light_validation


def place(_) -> tuple[int, bool]:
    return os.getpid(), threading.current_thread() is threading.main_thread()


def places_of_pool(processes: int) -> list[tuple[int, bool]]:
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        assert len(pool._pool) == processes or module.usable_cores() < processes  # nnU-Net looks at them
        assert all(worker.is_alive() for worker in pool._pool)
        return pool.starmap_async(place, [(0,), (1,)]).get(120)


def test_one_worker_is_a_thread_of_this_process():
    with light_pools():
        assert places_of_pool(1) == [(os.getpid(), False)] * 2
        assert multiprocessing.get_context("fork") is not multiprocessing.get_context("spawn")
        assert multiprocessing.get_context("spawn").Queue  # nnU-Net's predictor asks for more than pools


@pytest.mark.slow
def test_several_workers_are_spawned_processes():
    with light_pools():
        assert os.getpid() not in {process for process, _ in places_of_pool(2)}


@pytest.mark.parametrize(("variable", "workers"), [(None, 1), ("3", 3)])
def test_validation_has_a_worker_per_core_unless_told_otherwise(monkeypatch, variable, workers):
    monkeypatch.setattr(module, "usable_cores", lambda: 1)
    monkeypatch.delenv("nnUNet_def_n_proc", raising=False)
    if variable:
        monkeypatch.setenv("nnUNet_def_n_proc", variable)
    asked = []
    with light_validation():
        context = multiprocessing.get_context("spawn")
        monkeypatch.setattr(context, "_spawn", type("Spawn", (), {"Pool": staticmethod(asked.append)}))
        monkeypatch.setattr(module.multiprocessing.dummy, "Pool", asked.append)
        context.Pool(3)
    assert asked == [workers]
    assert multiprocessing.get_context("spawn") is not context


def test_pools_are_nnunets_own_afterwards_even_after_an_error():
    before = multiprocessing.get_context
    with pytest.raises(ValueError, match="stop"), light_pools():
        raise ValueError("stop")
    assert multiprocessing.get_context is before

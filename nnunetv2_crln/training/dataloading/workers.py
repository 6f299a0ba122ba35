"""Make batches in worker processes, and end the training if one is lost."""

import contextlib
import os
import queue
import time
from collections.abc import Callable, Iterator

import torch
from batchgenerators.dataloading.multi_threaded_augmenter import MultiThreadedAugmenter
from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter
from nnunetv2.utilities.default_n_proc_DA import get_allowed_n_proc_DA

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.training.dataloading.batches import SeededBatches, WorkerFailure

MANY_WORKERS = 6
"""Number of workers from which one batch in each one's queue is enough: nnU-Net keeps six batches ready in all."""

LATE_S = 0.01
"""Seconds of waiting from which a batch may count as late; a batch that is ready takes less."""


class WatchedWorkers(MultiThreadedAugmenter):
    """Run workers without losing a batch, and end the training with the traceback if a worker fails.

    The class of batchgenerators waits forever if a worker is killed while its batch is on the way.

    Args:
        batches: Endless iterator over batches, which is copied into each worker.
        num_workers: Number of processes.
        pin_memory: Pin the memory of batches, for a GPU.
        device_is_idle: Tells whether the device has done all its work. A GPU is often still busy with the last step
            when the next batch is asked for; then nothing is lost by waiting.

    Attributes:
        late: Number of batches for which an idle device waited.
    """

    patience_s = 2.0
    """Seconds without a batch after which the workers are checked."""

    def __init__(
        self,
        batches: SeededBatches,
        num_workers: int,
        pin_memory: bool,
        device_is_idle: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__(
            batches,
            None,
            num_processes=num_workers,
            num_cached_per_queue=1 if num_workers >= MANY_WORKERS else 2,
            pin_memory=pin_memory,
            wait_time=0.002,
        )
        self._next_step = batches.next_step
        self._device_is_idle = device_is_idle
        self.late = 0

    def start(self) -> None:
        """Start the workers, unless they run."""
        if not self.was_initialized:
            self._start()

    def __next__(self) -> dict:
        """Return the next batch.

        Raises:
            RuntimeError: A worker failed or died; a batch was lost.
        """
        self.start()
        asked = time.perf_counter()
        while True:
            try:
                batch = self.pin_memory_queue.get(timeout=self.patience_s)
            except queue.Empty:
                self._check_workers()
                continue
            if isinstance(batch, WorkerFailure):
                if batch.input_is_bad:
                    self._finish(timeout=2, force=True)
                    raise UserError(batch.text)
                self._fail(f"A loader worker failed:\n{batch.text}")
            if batch["step"] != self._next_step:
                self._fail(f"The batch of step {self._next_step} was lost on its way; the next was {batch['step']}.")
            self._next_step += 1
            self.late += time.perf_counter() - asked > LATE_S and self._device_is_idle()
            return batch

    def _check_workers(self) -> None:
        ended = [process for process in self._processes if not process.is_alive()]
        if ended or self.abort_event.is_set() or not self.pin_memory_thread.is_alive():
            codes = ", ".join(str(process.exitcode) for process in ended) or "none"
            self._fail(
                f"Loader workers ended (exit codes: {codes}; a negative one is the signal that killed it, -9 "
                "mostly for lack of memory). Free memory or use fewer workers (nnUNet_n_proc_DA), then continue "
                "with --c."
            )

    def _fail(self, message: str) -> None:
        self._finish(timeout=2, force=True)
        raise RuntimeError(message)


def in_workers(batches: SeededBatches, device: torch.device) -> WatchedWorkers | SingleThreadedAugmenter:
    """Make batches in worker processes, which start at once, or in this process if their number is 0.

    Workers that start with the first batch of validation would be forked in the middle of a training, beside the
    threads of CUDA and of torch.compile.

    Args:
        batches: Endless iterator over batches; its ``num_workers`` is the number of processes.
        device: Device of the training; for a GPU the memory of batches is pinned.

    Returns:
        Iterator over the batches.
    """
    if batches.num_workers == 0:
        return SingleThreadedAugmenter(batches, None)
    if device.type == "cuda":
        stream = torch.cuda.current_stream(device)
        workers = WatchedWorkers(batches, batches.num_workers, pin_memory=True, device_is_idle=stream.query)
    else:
        workers = WatchedWorkers(batches, batches.num_workers, pin_memory=False)
    workers.start()
    return workers


def num_workers(for_validation: bool = False) -> int:
    """Return the number of workers that nnU-Net would use here (``nnUNet_n_proc_DA``); half as many for validation."""
    allowed = get_allowed_n_proc_DA()
    return max(1, allowed // 2) if for_validation and allowed else allowed


@contextlib.contextmanager
def nnunet_without_workers() -> Iterator[None]:
    """Let nnU-Net build its loaders in this process, without starting workers of its own."""
    name = "nnUNet_n_proc_DA"
    before = os.environ.get(name)
    os.environ[name] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before

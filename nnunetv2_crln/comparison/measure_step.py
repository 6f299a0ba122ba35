"""Measure time and memory of a few steps of one training, in a separate process; the result is one line of JSON."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from typing import Any

import torch

from nnunetv2_crln.training.hooks.progress_line import steps_in_epoch
from nnunetv2_crln.utilities.memory import peak_ram_gib

WARM_UP, STEPS = 2, 4
RESULT_MARK = "measured: "


def measure(trainer: Any) -> dict[str, float]:
    """Run a few training steps of one of nnU-Net's trainers.

    Args:
        trainer: New trainer; its weights and its output folder are changed.

    Returns:
        ``seconds`` of a step with its batch, ``memory_gib`` at its peak (of the GPU; on a CPU of the process), and
        ``steps`` of the whole training; a validation step counts as a third of one.
    """
    cuda = trainer.device.type == "cuda"
    trainer.on_train_start()
    trainer.on_train_epoch_start()
    started = 0.0
    for step in range(WARM_UP + STEPS):
        if step == WARM_UP:
            if cuda:
                torch.cuda.synchronize(trainer.device)
            started = time.perf_counter()
        trainer.train_step(next(trainer.dataloader_train))
    if cuda:
        torch.cuda.synchronize(trainer.device)
    seconds = (time.perf_counter() - started) / STEPS
    memory = torch.cuda.max_memory_reserved(trainer.device) / 2**30 if cuda else peak_ram_gib()
    return {"seconds": seconds, "memory_gib": memory, "steps": trainer.num_epochs * steps_in_epoch(trainer)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the training that the command line names."""
    parser = argparse.ArgumentParser()
    for flag in ("-d", "-c", "-f", "-tr", "-p", "-device"):
        parser.add_argument(flag, required=True)
    options = parser.parse_args(arguments)
    from nnunetv2.run.run_training import get_trainer_from_args

    trainer = get_trainer_from_args(
        options.d, options.c, int(options.f), options.tr, options.p, device=torch.device(options.device)
    )
    result = measure(trainer)
    print(RESULT_MARK + json.dumps(result), flush=True)
    # Loader workers need not end properly: there is nothing left to lose.
    for loader in (trainer.dataloader_train, trainer.dataloader_val):
        if hasattr(loader, "_finish"):
            loader._finish()


if __name__ == "__main__":
    main()

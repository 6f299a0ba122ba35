"""Define the flags that select the model, named as those of ``nnUNetv2_predict``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from nnunetv2_crln.layout import CHECKPOINT_FINAL
from nnunetv2_crln.utilities.argument_types import plain_name, share


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags to a parser."""
    parser.add_argument(
        "model", type=Path, metavar="MODEL", help="TRAINER__PLANS__CONFIGURATION in nnUNet_results, or a fold_X in it"
    )
    parser.add_argument(
        "-f", nargs="+", type=plain_name, default=[], metavar="FOLD", help="folds to average; default: all trained ones"
    )
    parser.add_argument(
        "-chk",
        type=plain_name,
        default=CHECKPOINT_FINAL,
        metavar="FILE",
        help="checkpoint of each fold; default: %(default)s",
    )
    parser.add_argument("-step_size", type=share, default=0.5, help="of the sliding window; default: %(default)s")
    parser.add_argument("--disable_tta", action="store_true", help="without mirroring: up to eight times faster")
    parser.add_argument("-device", choices=("cuda", "cpu", "mps"), default="cuda", help="default: %(default)s")
    parser.add_argument("--no_pbar", action="store_true", help="show no progress bar")


def model_choice(options: argparse.Namespace) -> Any:
    """Return the :class:`~nnunetv2_crln.annotation_loop.volume_predictor.ModelChoice` of a command line."""
    from nnunetv2_crln.annotation_loop.volume_predictor import ModelChoice

    return ModelChoice(
        options.model, tuple(options.f), options.chk, options.device, not options.disable_tta, options.step_size
    )

"""Find suspicious patterns in the curves, as a person would. The thresholds are explained in docs/monitoring.md."""

import math
from collections.abc import Mapping, Sequence

from nnunetv2_crln.layout import CURVE_PREFIX
from nnunetv2_crln.reporting.curves import finite_points

# With fewer epochs there is no trend to remark on.
FEWEST_EPOCHS = 5


def remarks(logging: Mapping[str, Sequence]) -> list[str]:
    """Return remarks on what deserves attention, most serious first; an empty list if nothing stands out.

    Args:
        logging: Values per epoch of each key of nnU-Net's logger.
    """
    found = []
    last = {key: _recent_mean(logging, key) for key in logging}

    def value(key: str) -> float:
        return last.get(f"{CURVE_PREFIX}{key}", math.nan)

    if len(finite_points(logging, f"{CURVE_PREFIX}supervised")[0]) < FEWEST_EPOCHS:
        return []
    if value("skipped_steps") >= 1:  # mixed precision leaves out a step now and then, when it tries a larger scale
        found.append(
            "Steps with a non-finite gradient were skipped: look for NaN in the images or lower the learning rate."
        )
    if value("monitor_foreground") < 1e-4:
        found.append(
            "The teacher finds (almost) no foreground in the monitored unlabelled cases: pseudo labels are all "
            "background. Train longer before the unlabelled terms count (unsupervised_start, ramp_up), or check the "
            "learning rate."
        )
    if value("confident") < 0.05:
        found.append(
            "Less than 5 % of the voxels are confident enough to teach the student: the unlabelled data hardly take "
            "part. Train longer or lower confidence_threshold."
        )
    if value("mu") > 0.95:
        found.append("μ is near 1: rectification is (almost) switched off. See docs/monitoring.md in the repository.")
    if value("pseudo_dice") < value("pseudo_dice_raw") - 0.01:
        found.append(
            "Rectification makes the pseudo labels worse on the cases with hidden labels (by more than 0.01 Dice)."
        )
    if value("pseudo_dice_map") < 0.5 * value("pseudo_dice"):
        found.append("The relationship map M alone segments far worse than the network: it may have collapsed.")
    if (drop := _drop(logging, f"{CURVE_PREFIX}pseudo_dice")) > 0.03:
        found.append(
            f"The pseudo labels' Dice fell by {drop:.3f} from its best: the teacher confirms its own mistakes."
        )
    return found


def _recent_mean(logging: Mapping[str, Sequence], key: str) -> float:
    """Average the last tenth of a curve, because single epochs are noisy."""
    values = finite_points(logging, key)[1]
    recent = values[-max(1, len(values) // 10) :]
    return sum(recent) / len(recent) if recent else math.nan


def _drop(logging: Mapping[str, Sequence], key: str) -> float:
    """Measure how far a curve has dropped below its best mean over a tenth of the training."""
    values = finite_points(logging, key)[1]
    width = max(1, len(values) // 10)
    means = [sum(values[i : i + width]) / width for i in range(len(values) - width + 1)]
    return max(means) - means[-1] if means else 0.0

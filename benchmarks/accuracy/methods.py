"""The methods that are compared: a trainer and settings each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Method:
    """One kind of training.

    Attributes:
        label: Name in tables.
        trainer: Trainer's name between ``nnUNetTrainer`` and ``_short`` or ``_article``.
        settings: Entries of the "crln" block. ``rectification_share`` becomes ``rectification_start``.
        dataset: What it trains on instead of the draw's own dataset. ``recipe``: all cases, the unlabelled ones with
            the predictions of a first training as labels. ``random``, ``ranked``: as many cases again annotated as
            are labelled, random ones or those that nnUNetv2_crln_rank puts first with the draw's CRLN model.
            ``repeated``: the labelled cases, which are the unlabelled ones as well.
    """

    label: str
    trainer: str
    settings: dict[str, Any] = field(default_factory=dict)
    dataset: str | None = None


METHODS = {
    "supervised": Method("supervised, labelled cases alone", ""),
    "recipe": Method("recipe: train, predict the unlabelled, train again", "", dataset="recipe"),
    "add_random": Method("supervised, as many random cases annotated too", "", dataset="random"),
    "add_ranked": Method("supervised, as many of the first in the ranking annotated too", "", dataset="ranked"),
    "mean_teacher": Method("mean teacher", "_MeanTeacher"),
    "crln_no_cps": Method("CRLN without CPS", "_CRLN_noCPS"),
    "crln": Method("CRLN", "_CRLN"),
    "mean_teacher_no_scans": Method(
        "mean teacher, labelled cases alone (as unlabelled ones too)", "_MeanTeacher", dataset="repeated"
    ),
    "crln_no_scans": Method("CRLN, labelled cases alone (as unlabelled ones too)", "_CRLN", dataset="repeated"),
    "oracle": Method("oracle: hidden labels as pseudo labels", "_Oracle"),
}

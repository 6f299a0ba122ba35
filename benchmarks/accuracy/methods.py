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
        added: Annotates as many cases again as are labelled: the ``ranked`` ones, which nnUNetv2_crln_rank puts first
            with the draw's CRLN model, or ``random`` ones.
        recipe: Trains twice: on the labelled cases, and again on all with its own predictions as labels.
    """

    label: str
    trainer: str
    settings: dict[str, Any] = field(default_factory=dict)
    recipe: bool = False
    added: str | None = None


METHODS = {
    "supervised": Method("supervised, labelled cases alone", ""),
    "recipe": Method("recipe: train, predict the unlabelled, train again", "", recipe=True),
    "add_random": Method("supervised, as many random cases annotated too", "", added="random"),
    "add_ranked": Method("supervised, as many of the first in the ranking annotated too", "", added="ranked"),
    "mean_teacher": Method("mean teacher", "_MeanTeacher"),
    "crln_no_cps": Method("CRLN without CPS", "_CRLN_noCPS"),
    "crln": Method("CRLN", "_CRLN"),
    "oracle": Method("oracle: hidden labels as pseudo labels", "_Oracle"),
}

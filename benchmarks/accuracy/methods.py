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
        batches: Labelled batches in a step. With 2 a step sees as many patches as that of a semi-supervised method.
    """

    label: str
    trainer: str
    settings: dict[str, Any] = field(default_factory=dict)
    dataset: str | None = None
    batches: int = 1


METHODS = {
    "supervised": Method("supervised, labelled cases alone", ""),
    "supervised_double_batch": Method("supervised, labelled cases alone, batch twice as large", "", batches=2),
    "recipe": Method("recipe: train, predict the unlabelled, train again", "", dataset="recipe", batches=2),
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

ARTICLE_ITERATIONS = 40_000
"""Length of the paper's trainings, in which its starts of rectification are counted."""
LINEAR = {"aggregation": "linear"}  # Table 6 switches parts of it
ABLATIONS = {  # the paper's experiments
    "supervised": Method("labelled cases alone", ""),
    "baseline": Method(
        "mean teacher, views alike", "_MeanTeacher", {"cutmix_probability": 0, "strong_intensity": "none"}
    ),
    "mean_teacher": Method("+ CutMix and noise", "_MeanTeacher"),
    "crln_no_cps": Method("+ CRLN and DIM", "_CRLN_noCPS"),
    "cps_mean": Method("+ CPS, class means alone", "_CRLN", {"cps_positive": "mean"}),
    "cps_prototype": Method("+ CPS, prototypes alone", "_CRLN", {"cps_positive": "prototype"}),
    "crln": Method("CRLN, whole", "_CRLN"),
    "sum": Method("mean of the maps", "_CRLN", LINEAR | {"spatial_awareness": False, "integration": False}),
    "sa": Method("+ spatial awareness", "_CRLN", LINEAR | {"integration": False}),
    "sa_ci": Method("+ convolutional integration", "_CRLN", LINEAR | {"shared_classes": False}),
    "sa_ci_cr": Method("+ cross-class reasoning", "_CRLN", LINEAR),
    "fixed": Method("r-fixed-v1", "_CRLN", {"rectification": "fixed"}),
    "concat": Method("r-learnable-v2", "_CRLN", {"rectification": "concat"}),
    "our_settings": Method(
        "CRLN, our default settings", "_CRLN", {"strong_intensity": "noise", "histogram_matching": 0.0}
    ),
    **{f"prototypes_{r}": Method(f"R = {r}", "_CRLN", {"num_prototypes": r}) for r in (1, 2, 4, 8, 16, 32)},
    **{
        f"start_{start}": Method(
            f"start at {start} of 40,000", "_CRLN", {"rectification_share": start / ARTICLE_ITERATIONS}
        )
        for start in (0, 400, 800, 1200, 1600, 2000)
    },
    **{f"xi_{xi}": Method(f"xi = {xi}", "_CRLN", {"prototype_weight": xi}) for xi in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)},
}

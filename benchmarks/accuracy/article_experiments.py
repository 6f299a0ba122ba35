"""The paper's experiments: which trainings each consists of, with which settings, and the published numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from methods import ARTICLE_ITERATIONS
from runs import Run

DEFAULTS = "our_settings"  # does not start from the protocol's block
WHOLE = "crln"

EXPERIMENTS = {
    "main": ("Methods", ("supervised", "mean_teacher", "crln", "our_settings")),
    "table5": ("Table 5", ("baseline", "mean_teacher", "crln_no_cps", "cps_mean", "cps_prototype", "crln")),
    "table6": ("Table 6 (linear aggregation)", ("sum", "sa", "sa_ci", "sa_ci_cr")),
    "table7": ("Table 7", ("fixed", "concat", "crln")),
    "fig10": ("Fig. 10, prototypes", tuple(f"prototypes_{r}" for r in (1, 2, 4, 8, 16, 32))),
    "fig12": ("Fig. 12, start of rectification", tuple(f"start_{s}" for s in (0, 400, 800, 1200, 1600, 2000))),
    "fig13": ("Fig. 13, xi", tuple(f"xi_{x}" for x in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0))),
}

# Dice %, Jaccard %, ASD voxel, 95HD voxel with their bootstrap standard deviations; final checkpoint, test cases.

PUBLISHED = {
    ("left_atrium", 8): {
        "baseline": "84.19±0.10, 72.97±0.59, 3.95±0.61, 13.12±2.58",
        "mean_teacher": "88.67±1.04, 79.90±1.59, 2.98±0.60, 10.97±3.14",
        "crln_no_cps": "89.87±0.75, 81.73±1.20, 2.12±0.28, 6.64±0.97",
        "cps_mean": "91.63±0.37, 84.59±0.63, 1.49±0.09, 4.77±0.32",
        "cps_prototype": "91.53±0.31, 84.42±0.52, 1.55±0.09, 4.70±0.28",
        "crln": "91.74±0.38, 84.79±0.64, 1.46±0.09, 4.60±0.33",
        "sum": "90.22±0.90, 82.42±1.33, 1.58±0.11, 6.06±0.77",
        "sa": "90.89±0.54, 83.40±0.88, 1.55±0.12, 5.44±0.43",
        "sa_ci": "91.04±0.40, 83.61±0.67, 1.46±0.09, 5.26±0.38",
        "sa_ci_cr": "91.74±0.38, 84.79±0.64, 1.46±0.09, 4.60±0.33",
        "fixed": "91.14±0.43, 83.79±0.71, 1.56±0.09, 5.07±0.38",
        "concat": "90.69±0.64, 83.09±1.01, 1.66±0.13, 5.58±0.45",
        # The figures have no numbers; these are differences that the text gives.
        "prototypes_1": "Jaccard 1.86 to 3.37 less than with several",
        "prototypes_16": "91.74±0.38, 84.79±0.64, 1.46±0.09, 4.60±0.33",
        "prototypes_32": "Jaccard 1.47 less, 95HD 0.55 more than with 16",
        "start_800": "91.74±0.38, 84.79±0.64, 1.46±0.09, 4.60±0.33",
        "xi_0.6": "91.74±0.38, 84.79±0.64, 1.46±0.09, 4.60±0.33",
    },
    ("left_atrium", 16): {"crln": "91.88±0.43, 85.05±0.72, 1.46±0.08, 4.51±0.32"},
    ("pancreas_ct", 6): {
        "baseline": "56.14±3.67, 41.04±3.57, 7.42±1.06, 21.99±3.10",
        "mean_teacher": "76.73±2.12, 63.28±2.59, 2.59±0.70, 9.89±2.52",
        "crln_no_cps": "78.58±1.47, 65.27±1.97, 3.19±0.66, 9.83±2.46",
        "cps_mean": "74.68±2.42, 60.75±2.84, 1.94±0.26, 8.56±1.17",
        "cps_prototype": "73.90±1.82, 59.31±2.24, 2.00±0.29, 9.67±1.26",
        "crln": "79.17±1.82, 66.32±2.33, 1.94±0.52, 7.27±1.12",
    },
    ("pancreas_ct", 12): {"crln": "82.76±1.01, 70.90±1.45, 1.35±0.19, 4.81±0.60"},
    ("brats19", 25): {"crln": "86.73±1.46, 77.85±2.02, 1.67±0.30, 7.15±1.12"},
    ("brats19", 50): {"crln": "87.17±1.24, 78.19±1.80, 1.62±0.32, 6.79±1.05"},
}


def settings_of(run: Run, protocol_block: dict[str, Any]) -> dict[str, Any]:
    """Return the "crln" block of a run: the protocol's where the paper's is trained, our defaults otherwise."""
    block = dict(protocol_block) if run.plan == "article" and run.method != DEFAULTS else {}
    if "rectification_start" in block:  # the same share of a shorter training
        block["rectification_start"] = round(block["rectification_start"] / ARTICLE_ITERATIONS * run.iterations)
    changed = dict(run.method_spec.settings)
    if "rectification_share" in changed:
        changed["rectification_start"] = round(changed.pop("rectification_share") * run.iterations)
    if run.features is not None:
        changed["representation_kernel"] = 1  # a dense head would cost as much as a network of eight channels
    looks = {"overlay_every": 0, "quality_cases": 0, "save_every": 2}
    return {**block, **changed, **looks, "seed": run.draw, **dict(run.override)}


def trained_as(run: Run) -> Run:
    """Return the run that this one shares: one value of each ablation is that of full CRLN (16 for R of LA)."""
    from nnunetv2_crln.plan_and_preprocess.article import find_protocol

    if run.plan != "article":
        return run
    block = find_protocol(run.bed_spec.article, run.labelled).settings
    whole = replace(run, method=WHOLE)
    alike = run.method_spec.trainer == whole.method_spec.trainer and settings_of(run, block) == settings_of(
        whole, block
    )
    return whole if alike else run

"""Markdown tables of results: every draw, bounds, and two intervals for every difference."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from article_experiments import ABLATIONS, PUBLISHED
from beds import BEDS
from methods import METHODS

RESAMPLES = 10_000
SETTING = ("labelled", "plan", "scale", "features", "warm_start", "iterations", "learning_rate")
"""What runs must share to be compared."""
ORDER = list(dict.fromkeys([*METHODS, *ABLATIONS]))


def print_table(results: Path, bed: str, judge: str = "test", networks: Sequence[str] | None = None) -> None:
    """Print a table for every setting of a data set.

    Args:
        results: Folder of all results.
        bed: Data set.
        judge: ``test`` or ``dev``.
        networks: Deployable networks to show; by default the deployed one, the first.
    """
    folder = results / bed / ("dev" if judge == "dev" else "")
    found = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(folder.glob("*.json"))]
    settings = defaultdict(list)
    for result in found:
        settings[tuple(result[key] for key in SETTING)].append(result)
    for setting in sorted(settings, key=str):
        values = dict(zip(SETTING, setting, strict=True))
        start = f"{values['warm_start']} supervised + " if values["warm_start"] else ""
        size = f", scale {values['scale']}" if values["scale"] > 1 else ""
        size += f", {values['features']} channels" if values["features"] else ""
        print(
            f"\n{bed}, {values['labelled']} labelled, plan {values['plan']}{size}, {start}{values['iterations']} "
            f"iterations, learning rate {values['learning_rate']:g}\n"
        )
        for line in rows_of(settings[setting], BEDS[bed]().distance, networks):
            print(line)
        print("\nPseudo labels of the last epoch, in % (each draw)\n")
        for line in pseudo_label_rows(settings[setting]):
            print(line)


RIVALS = {
    "supervised": "Δ supervised",
    "mean_teacher": "Δ mean teacher",
    "crln_no_scans": "Δ CRLN without other scans",
    "add_random": "Δ random cases",
}


def rows_of(results: list[dict], distance: str, networks: Sequence[str] | None = None) -> list[str]:
    """Return the lines of one setting's table."""
    methods = dict(_by_method(results))
    classes = sorted(next(iter(_cases(results[0], _deployed(results[0])).values())))
    base = {name: methods.get((name, "{}"), {}) for name in (*RIVALS, "oracle")}
    unit = distance.partition("_")[2]
    names = ["method", "network", "Dice % (draw: value)", *(classes if len(classes) > 1 else []), f"95HD {unit}"]
    rivals = {name: title for name, title in RIVALS.items() if base[name]}
    names += [*rivals.values(), "gap closed", *(["published"] if _is_article(results[0]) else [])]
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for (method, override), runs in methods.items():
        label = _title(runs, method, override)
        for network in networks or [_deployed(next(iter(runs.values())))]:
            shown = {draw: values(run, network, "Dice") for draw, run in sorted(runs.items()) if network in run["test"]}
            if not shown:
                continue
            dice = [100 * np.nanmean(v) for v in shown.values()]
            by_class = 100 * np.mean([np.nanmean(v, 0) for v in shown.values()], 0)
            far = np.mean([np.nanmean(values(runs[draw], network, distance)) for draw in shown])
            each = " / ".join(f"{draw}: {d:.1f}" for draw, d in zip(shown, dice, strict=True))
            spread = f" ± {np.std(dice, ddof=1):.1f}" if len(dice) > 1 else ""
            cells = [label, network, f"{np.mean(dice):.1f}{spread} ({each})"]
            cells += [f"{d:.1f}" for d in by_class] if len(classes) > 1 else []
            cells += [f"{far:.2f}"]
            for rival in rivals:
                of_rival = {draw: values(run, _deployed(run), "Dice") for draw, run in base[rival].items()}
                cells.append("" if override == "{}" and method == rival else _difference(shown, of_rival))
            cells.append(_gap_closed(shown, base["supervised"], base["oracle"]))
            if _is_article(results[0]):
                cells.append(PUBLISHED.get((results[0]["bed"], results[0]["labelled"]), {}).get(method, "–"))
            lines.append(f"| {' | '.join(cells)} |")
    return lines


PSEUDO_LABELS = {
    "voxels above τ, teacher": "crln_confident_raw",
    "rectified": "crln_confident",
    "class changed": "crln_monitor_changed",
    "Dice, teacher": "crln_pseudo_dice_raw",
    "Dice, rectified": "crln_pseudo_dice",
    "Dice, M alone": "crln_pseudo_dice_map",
}


def pseudo_label_rows(results: list[dict]) -> list[str]:
    """Return what the monitoring saw of the pseudo labels, and how the gradient of CPS compares with the supervised."""
    lines = [
        f"| method | {' | '.join(PSEUDO_LABELS)} | CPS / supervised gradient |",
        "|---" * (len(PSEUDO_LABELS) + 2) + "|",
    ]
    for (method, override), runs in _by_method(results):
        last = [run["last_epoch"] for _, run in sorted(runs.items())]
        cells = [" / ".join(f"{100 * e[key]:.1f}" for e in last if key in e) for key in PSEUDO_LABELS.values()]
        ratios = [
            e["crln_gradient_cps"] / e["crln_gradient_supervised"]
            for e in last
            if e.get("crln_gradient_supervised") and "crln_gradient_cps" in e
        ]
        if any(cells):
            cells.append(" / ".join(f"{ratio:.0f}" for ratio in ratios))
            lines.append(f"| {' | '.join([_title(runs, method, override), *cells])} |")
    return lines


def _by_method(results: list[dict]) -> list[tuple[tuple[str, str], dict[int, dict]]]:
    """Return the runs by method and override, in the order of the tables, and by draw."""
    methods: dict[tuple[str, str], dict[int, dict]] = defaultdict(dict)
    for result in results:
        methods[result["method"], json.dumps(result["override"], sort_keys=True)][result["draw"]] = result
    return sorted(methods.items(), key=lambda item: _order(*item[0]))


def _title(runs: dict[int, dict], method: str, override: str) -> str:
    return _label(runs, method) + ("" if override == "{}" else f" {override}")


def _order(method: str, override: str) -> tuple[int, bool, str]:
    return ORDER.index(method), override != "{}", override


def values(result: dict, network: str, metric: str) -> np.ndarray:
    """Return a metric of one run, (cases, classes), NaN where undefined; cases and classes in sorted order."""
    cases = sorted(_cases(result, network).items())
    found = [[of_class[name][metric] for name in sorted(of_class)] for _, of_class in cases]
    return np.array(found, dtype=float)


def hierarchical_interval(
    differences: Sequence[np.ndarray], resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % interval of a mean difference over draws of labelled cases and over the cases judged.

    Each resample takes draws with replacement, and within each draw cases with replacement.

    Args:
        differences: For each draw the paired differences of its cases, (cases,) or (cases, classes).
        resamples: Number of resamples.
        seed: Seed of the resampling.

    Returns:
        Lower and upper end.
    """
    from nnunetv2_crln.evaluation.bootstrap import mean_ignoring_nan

    rng = np.random.default_rng(seed)
    per_case = [d if d.ndim == 1 else mean_ignoring_nan(d, axis=1) for d in differences]
    per_case = [d[~np.isnan(d)] for d in per_case]
    # (draws, resamples): for each draw the means of as many resamples of its cases as may be asked for
    count = len(per_case)
    means = np.stack([d[rng.integers(0, len(d), (resamples * count, len(d)))].mean(1) for d in per_case])
    chosen = rng.integers(0, count, (resamples, count))
    picked = means[chosen, np.arange(resamples * count).reshape(resamples, count)]
    low, high = np.percentile(picked.mean(1), [2.5, 97.5])
    return float(low), float(high)


def _difference(shown: dict[int, np.ndarray], rival: dict[int, np.ndarray]) -> str:
    """Return mean difference in Dice points, the interval over cases, and over draws and cases if there are several."""
    from nnunetv2_crln.evaluation.comparison import paired_difference

    shared = [draw for draw in shown if draw in rival and shown[draw].shape == rival[draw].shape]
    if not shared:
        return ""
    a, b = (100 * np.concatenate([side[draw] for draw in shared]) for side in (shown, rival))
    paired = paired_difference(a, b)
    text = f"{paired['difference']:+.2f} [{paired['ci_low']:+.2f}, {paired['ci_high']:+.2f}]"
    if len(shared) > 1:
        low, high = hierarchical_interval([100 * (shown[draw] - rival[draw]) for draw in shared])
        text += f", with draws [{low:+.2f}, {high:+.2f}]"
    return text


def _gap_closed(shown: dict[int, np.ndarray], supervised: dict[int, dict], oracle: dict[int, dict]) -> str:
    """Return the share of the way from supervised to oracle, over the draws that all three have."""
    shared = [draw for draw in shown if draw in supervised and draw in oracle]
    if not shared:
        return ""

    def mean(results: dict[int, dict]) -> float:
        return float(np.mean([np.nanmean(values(results[d], _deployed(results[d]), "Dice")) for d in shared]))

    low, high = mean(supervised), mean(oracle)
    reached = float(np.mean([np.nanmean(shown[draw]) for draw in shared]))
    return f"{100 * (reached - low) / (high - low):.0f} %" if high > low else "no gap"


def _cases(result: dict[str, Any], network: str) -> dict[str, dict[str, dict]]:
    return result["test"][network]


def _deployed(result: dict[str, Any]) -> str:
    return "teacher" if "teacher" in result["test"] else "student"


def _is_article(result: dict[str, Any]) -> bool:
    return result["plan"] == "article"


def _label(runs: dict[int, dict], method: str) -> str:
    article = _is_article(next(iter(runs.values())))
    return (ABLATIONS if article and method in ABLATIONS else METHODS)[method].label

"""Markdown tables of results: every draw, bounds, and two intervals for every difference."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from article_experiments import PUBLISHED
from beds import BEDS
from intervals import interval, sums_by_group
from methods import ABLATIONS, METHODS

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
    group_of = BEDS[results[0]["bed"]]().group_of
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
                itself = override == "{}" and method == rival
                cells.append("" if itself else _difference(runs, network, base[rival], group_of))
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


def _difference(
    runs: Mapping[int, dict], network: str, rivals: Mapping[int, dict], group_of: Callable[[str], str]
) -> str:
    """Return mean difference in Dice points, the interval over cases, and over draws and cases if there are several."""
    shared = [draw for draw, run in sorted(runs.items()) if draw in rivals and network in run["test"]]
    if not shared:
        return ""
    draws = [
        paired_differences(
            dice_of_cases(runs[draw], network), dice_of_cases(rivals[draw]), f"{runs[draw]['bed']}, draw {draw}"
        )
        for draw in shared
    ]
    sums, counts = sums_by_group(draws, group_of)
    low, high = interval(sums, counts)
    text = f"{sums.sum() / counts.sum():+.2f} [{low:+.2f}, {high:+.2f}]"
    if len(draws) > 1:
        low, high = interval(sums, counts, with_draws=True)
        text += f", with draws [{low:+.2f}, {high:+.2f}]"
    return text


def paired_differences(dice: Mapping[str, float], rivals: Mapping[str, float], title: str) -> dict[str, float]:
    """Return the difference of each case between two runs on the same draw, in Dice points.

    Args:
        dice: Result of :func:`dice_of_cases`.
        rivals: That of the other run.
        title: Data set and draw, for the error.

    Returns:
        Differences by case.

    Raises:
        SystemExit: The two were measured on different cases.
    """
    if dice.keys() != rivals.keys():
        odd = ", ".join(sorted(dice.keys() ^ rivals.keys())[:3])
        raise SystemExit(
            f"{title}: two runs were measured on different cases ({odd} in one alone). Measure both again with the "
            "same version of the data."
        )
    return {case: dice[case] - rivals[case] for case in dice}


def dice_of_cases(result: dict, network: str | None = None) -> dict[str, float]:
    """Return each case's Dice in %, averaged over its classes; of the deployed network by default."""
    from nnunetv2_crln.evaluation.bootstrap import mean_ignoring_nan

    network = network or _deployed(result)
    dice = 100 * mean_ignoring_nan(values(result, network, "Dice"), axis=1)
    return dict(zip(sorted(_cases(result, network)), dice.tolist(), strict=True))


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

"""Markdown of the paper's experiments: published numbers beside ours, and curves of the trainings."""

from __future__ import annotations

import argparse
import json

import numpy as np
from article_experiments import EXPERIMENTS, METHODS, METHODS_OF_NNUNET, PUBLISHED, trained_as

METRICS = ("Dice", "Jaccard", "ASD_voxel", "HD95_voxel")
CURVES = {
    "mu": "μ",
    "confident_raw": "confident voxels before rectification %",
    "confident": "and after %",
    "pseudo_dice_raw": "Dice of pseudo labels before %",
    "pseudo_dice": "and after %",
    "pseudo_dice_map": "Dice of M alone %",
}


def read_results(args: argparse.Namespace) -> list[dict]:
    results = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(args.results.glob("*.json"))]
    wanted = {"article": args.article, "num_labelled": args.num_labelled, "scale": args.scale}
    wanted |= {"iterations": args.iterations, "features": args.features}
    return [r for r in results if all(r[key] == value for key, value in wanted.items())]


def values(cases: dict[str, dict[str, float]], metric: str) -> np.ndarray:
    """(cases,), NaN where undefined."""
    return np.array([np.nan if c[metric] is None else c[metric] for _, c in sorted(cases.items())], float)


def cells(cases: dict[str, dict[str, float]]) -> list[str]:
    """Mean and bootstrap standard deviation (100 resamples, as in the paper) of each metric."""
    from nnunetv2_crln.evaluation.bootstrap import bootstrap_mean

    found = []
    for metric in METRICS:
        factor = 100 if metric in ("Dice", "Jaccard") else 1
        b = bootstrap_mean(factor * values(cases, metric))
        undefined = f" ({b['n_nan']} undefined)" if b["n_nan"] else ""
        found.append(f"{b['mean']:.2f} ± {b['sd']:.2f}{undefined}")
    return found


def difference(cases: dict, base: dict) -> str:
    from nnunetv2_crln.evaluation.comparison import paired_difference

    d = paired_difference(100 * values(cases, "Dice"), 100 * values(base, "Dice"))
    return f"{d['difference']:+.2f} [{d['ci_low']:+.2f}, {d['ci_high']:+.2f}]"


def table(args: argparse.Namespace) -> None:
    """Markdown: per experiment a row per method, fold, seed and deployed network, published numbers beside it.

    A method of several folds or seeds has a row over all of them as well.
    """
    results = read_results(args)
    for experiment in args.experiments:
        title, methods = EXPERIMENTS[experiment]
        rows = []
        for network in args.networks:
            for method in methods:
                run_as = trained_as(args, method, network)
                runs = [r for r in results if r["network"] == network and r["method"] == run_as]
                rows += _method_rows(args, method, runs, results)
        if not rows:
            continue
        print(f"\n{title}: {args.article} {args.num_labelled}, {args.iterations} iterations, scale {args.scale}\n")
        measures = "Dice % | Jaccard % | ASD voxel | 95HD voxel"
        print(f"| network | method | judged on | deployed | {measures} | Dice against mean teacher | published |")
        print("|---" * 10 + "|")
        for row in rows:
            print("| " + " | ".join(row) + " |")


def _method_rows(args: argparse.Namespace, method: str, runs: list[dict], results: list[dict]) -> list[list[str]]:
    published = PUBLISHED.get((args.article, args.num_labelled), {}).get(method, "–")
    rows = []
    for setting in sorted({_setting(r) for r in runs}):
        alike = sorted((r for r in runs if _setting(r) == setting), key=_judged)
        base = {_judged(b): b for b in results if _is_base_of(b, alike[0])}
        comparable = alike[0]["network"] == "article" and not alike[0]["override"]
        beside = published if comparable else "–"
        groups = [[r] for r in alike] + ([alike] if len(alike) > 1 else [])
        for group in groups:
            of_base = [base[_judged(r)] for r in group if _judged(r) in base]
            rows += _rows(label(alike[0], method), group, of_base if len(of_base) == len(group) else [], beside)
            beside = ""  # the first row has it
    return rows


def _setting(r: dict) -> tuple[float, str]:
    """Return what distinguishes the runs of a method and network, besides fold and seed."""
    return r["learning_rate"], json.dumps(r["override"])


def _judged(r: dict) -> tuple[bool, int, int]:
    """Return fold and seed as sort key; the test cases, which are not a fold, come last."""
    return r["fold"] is None, r["fold"] or 0, r["seed"]


def _judged_on(r: dict) -> str:
    return "test" if r["fold"] is None else f"fold {r['fold']}"


def _is_base_of(b: dict, r: dict) -> bool:
    """Check whether ``b`` is the mean teacher that ``r`` is compared with."""
    same = ("network", "learning_rate")
    return b["method"] == "mean_teacher" and not b["override"] and all(b[key] == r[key] for key in same)


def over_runs(runs: list[dict], deployed: str) -> dict[str, dict[str, float]]:
    """Metrics of every case of every fold; a case that several seeds are judged on has their mean."""
    gathered: dict[str, list[dict]] = {}
    for r in runs:
        for case, metrics in r["cases"][deployed].items():
            gathered.setdefault(f"{r['fold']} {case}", []).append(metrics)
    return {
        case: {
            key: None if any(m[key] is None for m in of) else float(np.mean([m[key] for m in of])) for key in METRICS
        }
        for case, of in gathered.items()
    }


def _rows(method: str, group: list[dict], base: list[dict], published: str) -> list[list[str]]:
    """Return a row per network that all runs of the group have measured; a single run has its best epoch as well."""
    judged = ", ".join(dict.fromkeys(_judged_on(r) for r in group))
    seeds = {r["seed"] for r in group}
    if len(seeds) > 1:
        judged += f", mean of {len(seeds)} seeds"
    elif seeds != {0}:
        judged += f", seed {group[0]['seed']}"
    deployed = [name for name in group[0]["cases"] if all(name in r["cases"] for r in group)]
    measured = {name: over_runs(group, name) for name in deployed} | (_best(group[0]) if len(group) == 1 else {})
    of_base = over_runs(base, "teacher")
    rows = []
    for name, cases in measured.items():
        against = ""
        if base and not (group == base and name == "teacher"):
            against = difference(cases, of_base)
        first = name == deployed[0]
        rows.append([group[0]["network"], method, judged, name, *cells(cases), against, published if first else ""])
    return rows


def label(r: dict, method: str | None = None) -> str:
    """Name of a run in tables; ``method`` where it stands for another row than its own."""
    method = method or r["method"]
    name = METHODS_OF_NNUNET[method] if r["network"] == "nnunet" else METHODS[method].label
    return name + "".join(f", {key} {value}" for key, value in r["override"].items())


def _best(r: dict) -> dict:
    found = r.get("best_checkpoint_diagnostic", {})
    return {
        f"{name}, best epoch (diagnostic only)": over_runs([{**r, "cases": {name: cases}}], name)
        for name, cases in found.items()
    }


def curves(args: argparse.Namespace) -> None:
    """Markdown: what the monitored unlabelled cases and mu say in ten places of each semi-supervised training."""
    for r in read_results(args):
        logged = r["curves"]
        if "crln_mu" not in logged:
            continue
        epochs = len(logged["crln_mu"])
        print(f"\n{label(r)}, {r['network']}, {_judged_on(r)}, seed {r['seed']}\n")
        print("| iteration | " + " | ".join(CURVES.values()) + " |")
        print("|---" * (len(CURVES) + 1) + "|")
        for epoch in np.unique(np.linspace(0, epochs - 1, 10).round().astype(int)):
            shown = [f"{(epoch + 1) * r['iterations'] // epochs}"]
            for key in CURVES:
                value = logged[f"crln_{key}"][epoch]
                if key == "mu" and METHODS[r["method"]].trainer == "mean_teacher":
                    value = None  # nothing is rectified
                shown.append("–" if value is None or np.isnan(value) else f"{value * (1 if key == 'mu' else 100):.2f}")
            print("| " + " | ".join(shown) + " |")

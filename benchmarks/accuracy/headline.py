"""The table of README and docs/results.md: every data set and length on which all methods were compared.

    python benchmarks/accuracy/headline.py [FOLDER]

A test compares the pages with what this prints from the result files. FOLDER: those of other runs than the present
defaults', for example benchmarks/results/accuracy_cross_entropy.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from beds import BEDS
from intervals import interval, sums_by_group
from scipy import stats
from tables import dice_of_cases, paired_differences

RESULTS = Path(__file__).parents[1] / "results" / "accuracy"
METHODS = {"supervised": "supervised", "mean_teacher": "mean teacher", "crln": "CRLN"}
COMPARED = ("mean_teacher", "supervised")
WARM_START, LEARNING_RATE = 1000, 0.05
SETTING = ("iterations", "warm_start", "learning_rate", "plan", "scale", "features", "override")


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        bed: Data set.
        labelled: Number of labelled cases or patients.
        iterations: Length after the warm start.
        title: What the data set is called there.
        of: All cases or patients that are not held out.
    """

    bed: str
    labelled: int
    iterations: int
    title: str
    of: str


ROWS = (
    Row("hippocampus", 4, 600, "MSD Hippocampus", "140 cases"),
    Row("acdc", 3, 600, "ACDC", "55 patients"),
    Row("left_atrium", 4, 600, "left atrium", "60 cases"),
    Row("hippocampus", 4, 3000, "MSD Hippocampus", "140 cases"),
    Row("acdc", 3, 3000, "ACDC", "55 patients"),
    Row("left_atrium", 4, 3000, "left atrium", "60 cases"),
    Row("hippocampus", 2, 3000, "MSD Hippocampus", "140 cases"),
    Row("hippocampus", 8, 3000, "MSD Hippocampus", "140 cases"),
    Row("acdc", 1, 3000, "ACDC", "55 patients"),
    Row("acdc", 7, 3000, "ACDC", "55 patients"),
    Row("left_atrium", 8, 3000, "left atrium", "60 cases"),
    Row("hippocampus", 70, 600, "MSD Hippocampus", "140 cases"),
    Row("hippocampus", 70, 3000, "MSD Hippocampus", "140 cases"),
)


def table(results: Path = RESULTS) -> list[str]:
    """Return the lines of the table in Markdown, made from the result files; rows without a run of CRLN are left out.

    Differences have the interval over draws and cases (patients), or over cases with one draw, and the t interval of
    the draws' differences.
    """
    titles = [*METHODS.values(), *(f"CRLN − {METHODS[rival]}" for rival in COMPARED)]
    names = ["data set, labelled of all", "iterations", "draws", *titles]
    runs = [(row, _runs_of_methods(row, results)) for row in ROWS]
    lines = [_line(row, ran) for row, ran in runs if "crln" in ran]
    return [f"| {' | '.join(names)} |", "|---" * len(names) + "|", *lines]


def _line(row: Row, ran: dict[str, dict[int, dict[str, float]]]) -> str:
    draws = sorted(set.intersection(*(set(by_draw) for by_draw in ran.values())))
    means = {method: np.mean([_mean(by_draw[draw]) for draw in draws]) for method, by_draw in ran.items()}
    shown = {method: f"{mean:.1f}" for method, mean in means.items()}
    best = max(shown.values(), key=float)
    values = [f"**{text}**" if text == best and [*shown.values()].count(best) == 1 else text for text in shown.values()]
    by_method = dict(zip(shown, values, strict=True))
    cells = [f"{row.title}, {row.labelled} of {row.of}", f"{row.iterations:,}", str(len(draws))]
    cells += [by_method.get(method, "not run") for method in METHODS]
    cells += [_difference(row, ran["crln"], ran[rival], draws) if rival in ran else "" for rival in COMPARED]
    return f"| {' | '.join(cells)} |"


def _runs_of_methods(row: Row, results: Path) -> dict[str, dict[int, dict[str, float]]]:
    """Return the Dice of each case in % by method and draw; methods without a run are left out."""
    runs = {method: _runs(row, method, results) for method in METHODS}
    return {method: by_draw for method, by_draw in runs.items() if by_draw}


def _runs(row: Row, method: str, results: Path) -> dict[int, dict[str, float]]:
    """Return the Dice of each case in % by draw."""
    found = {}
    for path in sorted((results / row.bed).glob(f"{row.bed}__{method}__{row.labelled}labelled__*.json")):
        run = json.loads(path.read_text(encoding="utf-8"))
        wanted = (row.iterations, WARM_START, LEARNING_RATE, "cpu", 1, None, {})
        if tuple(run[key] for key in SETTING) == wanted:
            if run["draw"] in found:
                raise SystemExit(f"{path}: another file has the same method and draw. Remove one of them.")
            found[run["draw"]] = dice_of_cases(run)
    return found


def _mean(dice: Mapping[str, float]) -> float:
    return float(np.mean(list(dice.values())))


def _difference(row: Row, crln: dict, rival: dict, draws: list[int]) -> str:
    differences = [paired_differences(crln[draw], rival[draw], f"{row.bed}, draw {draw}") for draw in draws]
    sums, counts = sums_by_group(differences, BEDS[row.bed]().group_of)
    low, high = interval(sums, counts, with_draws=len(draws) > 1)
    text = f"{sums.sum() / counts.sum():+.1f} [{low:+.1f}, {high:+.1f}]"
    if len(draws) > 1:
        means = [_mean(difference) for difference in differences]
        low, high = stats.t.interval(0.95, len(draws) - 1, np.mean(means), stats.sem(means))
        text += f", t [{low:+.1f}, {high:+.1f}]"
    return text.replace("-", "−")


if __name__ == "__main__":
    print("\n".join(table(*map(Path, sys.argv[1:]))))

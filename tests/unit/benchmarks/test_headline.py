"""The pages show what the result files say."""

import json
from pathlib import Path

import headline
import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("page", "results"),
    [
        ("README.md", "accuracy"),
        ("docs/results.md", "accuracy"),
        ("docs/results_without_matching.md", "accuracy_without_matching"),
        ("docs/results_cross_entropy.md", "accuracy_cross_entropy"),
    ],
)
def test_the_table_is_made_of_the_result_files(page, results):
    folder = ROOT / "benchmarks" / "results" / results
    lines = headline.table(folder)
    assert len(lines) > 3 and "\n".join(lines) in (ROOT / page).read_text(encoding="utf-8"), (
        f"{page}: replace its table by the output of python benchmarks/accuracy/headline.py {folder}"
    )


def write_run(folder, method, draw, dice, **other):
    """A run whose cases have the given Dice in one class; ``other`` says how it differs from those of the table."""
    cases = {f"hippocampus_{number:03d}": {"Anterior": {"Dice": value}} for number, value in enumerate(dice)}
    setting = {"iterations": 600, "warm_start": 1000, "learning_rate": 0.05, "plan": "cpu", "override": {}}
    content = {**setting, "scale": 1, "features": None, **other, "draw": draw, "test": {"teacher": cases}}
    (folder / "hippocampus").mkdir(exist_ok=True)
    name = f"hippocampus__{method}__4labelled__draw{draw}{''.join(map(str, other.values()))}.json"
    (folder / "hippocampus" / name).write_text(json.dumps(content))


def line_of(folder):
    row = headline.Row("hippocampus", 4, 600, "MSD Hippocampus", "140 cases")
    return [cell.strip() for cell in headline._line(row, headline._runs_of_methods(row, folder)).split("|")[1:-1]]


def test_draws_that_not_all_methods_have_do_not_count(tmp_path):
    for method, dice in (("supervised", 0.7), ("mean_teacher", 0.75), ("crln", 0.8)):
        write_run(tmp_path, method, 0, [dice, dice])
    write_run(tmp_path, "crln", 1, [0.1, 0.1])
    cells = line_of(tmp_path)
    assert cells[:6] == ["MSD Hippocampus, 4 of 140 cases", "600", "1", "70.0", "75.0", "**80.0**"]
    assert cells[6:] == ["+5.0 [+5.0, +5.0]", "+10.0 [+10.0, +10.0]"]


@pytest.mark.parametrize("other", [{"features": 8}, {"scale": 2}, {"override": {"cps_weight": 1}}, {"iterations": 60}])
def test_runs_of_other_settings_do_not_count(tmp_path, other):
    for method, dice in (("supervised", 0.7), ("mean_teacher", 0.75), ("crln", 0.8)):
        write_run(tmp_path, method, 0, [dice, dice])
    expected = line_of(tmp_path)
    write_run(tmp_path, "crln", 0, [0.1, 0.1], **other)
    assert line_of(tmp_path) == expected


def test_two_files_for_one_draw_are_refused(tmp_path):
    for note in ("a", "b"):
        write_run(tmp_path, "crln", 0, [0.1, 0.1], note=note)
    with pytest.raises(SystemExit, match="same method and draw"):
        line_of(tmp_path)


def test_the_t_interval_is_that_of_the_draws(tmp_path):
    for draw, gain in enumerate((0.01, 0.02, 0.06)):
        for method, dice in (("supervised", 0.7), ("mean_teacher", 0.7), ("crln", 0.7 + gain)):
            write_run(tmp_path, method, draw, [dice, dice])
    # Mean 3, standard deviation 2.6458, t(0.975; 2) = 4.3027: 3 - 4.3027 * 2.6458 / sqrt(3) = -3.5726.
    assert line_of(tmp_path)[6] == "+3.0 [+1.0, +6.0], t [−3.6, +9.6]"


def test_a_method_that_was_not_run_is_named_and_equals_are_not_bold(tmp_path):
    for method in ("supervised", "crln"):
        write_run(tmp_path, method, 0, [0.7, 0.8])
    assert line_of(tmp_path)[3:] == ["75.0", "not run", "75.0", "", "+0.0 [+0.0, +0.0]"]

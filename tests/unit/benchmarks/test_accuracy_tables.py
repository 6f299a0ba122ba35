"""Tables of the accuracy benchmark, against slow or known values."""

import json

import numpy as np
import pytest
from tables import print_table, pseudo_label_rows, rows_of, values


def result(method, draw, dice, network="teacher", **change):
    """Make a result of four cases and two classes, whose Dice values rise by a point from case to case."""
    cases = {
        f"case{i}": {name: {"Dice": dice + 0.01 * i, "HD95_mm": 2.0, "HD95_voxel": 3.0} for name in ("left", "right")}
        for i in range(4)
    }
    settings = {"labelled": 4, "plan": "cpu", "scale": 1, "features": None, "warm_start": 1000, "iterations": 600}
    head = {"bed": "hippocampus", "learning_rate": 0.05, "override": {}, "last_epoch": {}}
    network = "student" if method == "supervised" else network
    return {**head, **settings, "method": method, "draw": draw, "test": {network: cases}, **change}


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_row_has_every_draw_and_its_differences_are_within_draws():
    results = [result("supervised", d, 0.5 + 0.1 * d) for d in (0, 1)]
    results += [result("mean_teacher", d, 0.6 + 0.1 * d) for d in (0, 1)]
    results += [result("crln", 0, 0.7), result("oracle", 0, 0.9), result("oracle", 1, 1.0 - 0.03)]
    head, _, *rows = (cells(line) for line in rows_of(results, "HD95_mm"))
    by_method = {row[0]: dict(zip(head, row, strict=True)) for row in rows}
    assert by_method["mean teacher"]["Dice % (draw: value)"] == "66.5 ± 7.1 (0: 61.5 / 1: 71.5)"
    assert by_method["mean teacher"]["Δ supervised"].startswith("+10.00 [+10.00, +10.00], with draws [+10.00")
    assert by_method["CRLN"]["Δ mean teacher"] == "+10.00 [+10.00, +10.00]"
    assert by_method["CRLN"]["95HD mm"] == "2.00" and by_method["CRLN"]["left"] == "71.5"
    # CRLN and the oracle share draw 0 alone: (71.5 - 51.5) / (91.5 - 51.5).
    assert by_method["CRLN"]["gap closed"] == "50 %"
    assert by_method["supervised, labelled cases alone"]["Δ supervised"] == ""


def test_a_changed_setting_is_a_row_of_its_own_and_compared_with_the_unchanged_rival():
    results = [result("mean_teacher", 0, 0.6), result("mean_teacher", 0, 0.5, override={"cps_balance": "log"})]
    rows = [cells(line) for line in rows_of(results, "HD95_mm")[2:]]
    assert rows[0][-2] == "" and rows[1][0] == 'mean teacher {"cps_balance": "log"}'
    assert rows[1][-2] == "-10.00 [-10.00, -10.00]"


def test_runs_that_were_measured_on_different_cases_are_not_compared():
    results = [result(method, draw, 0.5) for method in ("mean_teacher", "crln") for draw in (0, 1)]
    del results[3]["test"]["teacher"]["case2"]
    with pytest.raises(SystemExit, match=r"hippocampus, draw 1: .* different cases \(case2 in one alone\)"):
        rows_of(results, "HD95_mm")


def test_pseudo_labels_of_all_draws_stand_side_by_side():
    last = [
        {"crln_pseudo_dice": 0.5, "crln_gradient_cps": 0.4, "crln_gradient_supervised": 0.02},
        {"crln_pseudo_dice": 0.6},
    ]
    results = [result("crln", draw, 0.6, last_epoch=last[draw]) for draw in (0, 1)]
    results.append(result("supervised", 0, 0.6, last_epoch={"train_losses": 1.0}))
    head, _, *rows = (cells(line) for line in pseudo_label_rows(results))
    assert len(rows) == 1 and len(rows[0]) == len(head)
    row = dict(zip(head, rows[0], strict=True))
    assert row["Dice, rectified"] == "50.0 / 60.0" and row["CPS / supervised gradient"] == "20"
    assert row["Dice, teacher"] == ""


def test_published_numbers_stand_beside_the_papers_protocol():
    paper = {"bed": "left_atrium", "labelled": 8, "plan": "article"}
    head, _, row = (cells(line) for line in rows_of([result("crln", 0, 0.9, **paper)], "HD95_voxel"))
    assert head[-1] == "published" and row[-1].startswith("91.74") and row[0] == "CRLN, whole"


def test_settings_have_tables_of_their_own(tmp_path, capsys):
    folder = tmp_path / "hippocampus"
    folder.mkdir()
    for i, change in enumerate([{}, {"iterations": 3000}, {"labelled": 8}]):
        (folder / f"{i}.json").write_text(json.dumps(result("crln", 0, 0.5, **change)))
    print_table(tmp_path, "hippocampus")
    out = capsys.readouterr().out
    assert out.count("| CRLN |") == 3
    assert "hippocampus, 8 labelled, plan cpu, 1000 supervised + 600 iterations, learning rate 0.05" in out


def test_cases_without_a_value_are_left_out():
    found = result("crln", 0, 0.5)
    found["test"]["teacher"]["case0"]["left"]["HD95_mm"] = None
    assert np.isnan(values(found, "teacher", "HD95_mm")).sum() == 1
    assert cells(rows_of([found], "HD95_mm")[2])[5] == "2.00"


def test_neither_the_same_cases_in_more_draws_nor_phases_of_a_patient_are_counted_as_further_evidence():
    def interval_of(draws, phases):
        found = []
        for draw in range(draws):
            for method, dice in (("mean_teacher", 0.6), ("crln", 0.7)):
                run = result(method, draw, dice, bed="acdc")
                cases = run["test"]["teacher"]
                run["test"]["teacher"] = {
                    f"patient{i:03d}_frame{phase:02d}": {
                        name: {**cases[f"case{i}"][name], "Dice": dice + (0.01 * i if method == "crln" else 0)}
                        for name in ("left", "right")
                    }
                    for i in range(4)
                    for phase in range(phases)
                }
                found.append(run)
        head, _, *rows = (cells(line) for line in rows_of(found, "HD95_voxel"))
        return dict(zip(head, rows[1], strict=True))["Δ mean teacher"]

    alone = interval_of(1, 1)
    assert alone.startswith("+11.50 [+10.")
    assert interval_of(3, 2).startswith(alone + ", with draws [")

"""The accuracy benchmark from a converted dataset to its table, with trainings of two iterations."""

import json

import bench
import pytest
from beds import BEDS, Bed, Plan, read_converted
from commands import TRAINERS

METHODS = ["supervised", "mean_teacher", "crln", "crln_no_scans", "oracle", "recipe"]
METHODS += ["supervised_double_batch", "add_random", "add_ranked"]


@pytest.fixture
def command(make_dataset, tmp_path, monkeypatch):
    """Return a function that runs bench.py in this process on a bed of five tiny cases, one of them held out."""
    source = make_dataset(labelled=2, unlabelled=2)
    plans = {"cpu": Plan((16, 16, 16), (4, 8, 8), 2)}
    tiny = Bed("tiny", read_converted(), lambda groups: {"tst_000"}, (2,), "3d_fullres", plans, "HD95_mm")
    monkeypatch.setitem(BEDS, "tiny", lambda: tiny)
    for key in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(key, "")  # restored afterwards
    monkeypatch.setenv("nnUNet_extTrainer", TRAINERS)
    monkeypatch.setenv("nnUNet_n_proc_DA", "1")
    monkeypatch.setenv("nnUNet_def_n_proc", "1")

    def run(name, *options):
        work = [] if name == "table" else ["--work", str(tmp_path / "work")]
        length = [] if name == "table" else ["--labelled", "2", "--iterations", "2", "--warm_start", "1"]
        arguments = ["--bed", "tiny", "--results", str(tmp_path / "results"), "--data", str(source), *work, *length]
        monkeypatch.setattr("sys.argv", ["bench.py", name, *arguments, *options])
        return bench.main()

    run.results = tmp_path / "results" / "tiny"
    run.folders = tmp_path / "work" / "tiny" / "results"
    return run


def test_every_method_is_trained_measured_and_shown(command, capsys):
    command("prepare")
    command("one", "--methods", "supervised", "--iterations", "1", "--warm_start", "0", "--learning_rate", "0.1")
    for method in METHODS:
        assert command("one", "--methods", method) == 0
    results = [json.loads(path.read_text()) for path in command.results.glob("*__2it__*.json")]
    assert {r["method"] for r in results} == set(METHODS)
    assert all(list(cases) == ["tst_000"] for r in results for cases in r["test"].values())
    labelled = {r["method"]: set(r["labelled_cases"]) for r in results}
    assert all(labelled[method] == labelled["supervised"] for method in METHODS[:-2])
    assert all(labelled[method] > labelled["supervised"] and len(labelled[method]) == 4 for method in METHODS[-2:])
    plans = {m: next(command.folders.glob(f"*/*_tiny__{m}__*__2it__*/plans.json")) for m in METHODS}
    batch = {m: json.loads(p.read_text())["configurations"]["3d_fullres"]["batch_size"] for m, p in plans.items()}
    doubled = {"recipe", "supervised_double_batch"}
    assert all(batch[method] == batch["supervised"] * (1 + (method in doubled)) for method in METHODS)
    capsys.readouterr()
    command("table")
    shown = capsys.readouterr().out
    assert "1 supervised + 2 iterations" in shown and "| CRLN | teacher |" in shown and "| recipe" in shown
    assert "Δ random cases" in shown

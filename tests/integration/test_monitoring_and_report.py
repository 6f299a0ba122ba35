"""A tiny training watched from outside: it stays the same, leaves its files, and the report shows them in a browser."""

import math
import os
import re
import shutil
import subprocess
from types import SimpleNamespace

import pytest
import torch
from tiny_training import assert_equal_weights, train_epochs, weights

from nnunetv2_crln.cli import report
from nnunetv2_crln.layout import CURVE_PREFIX, MONITORED
from nnunetv2_crln.training.epoch_log import LOGGED

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--v=0",
)


def run_command(monkeypatch, *arguments) -> None:
    monkeypatch.setattr("sys.argv", ["nnUNetv2_crln_report", *map(os.fspath, arguments)])
    report.main()


def test_watching_changes_nothing(trainer_of):
    watched = trainer_of(results="watched", overlay_every=1, pictures=True)
    # As nnU-Net adds its logger for Weights & Biases.
    elsewhere = []
    watched.logger.loggers.append(
        SimpleNamespace(
            log=lambda key, value, step: elsewhere.append((key, value, step)),
            update_config=lambda config: None,
            log_summary=lambda key, value: None,
        )
    )
    train_epochs(watched, 2)
    alone = trainer_of(results="alone", monitor_every=0, overlay_every=0, quality_cases=0)
    train_epochs(alone, 2)
    assert_equal_weights(weights(watched), weights(alone))
    logged = {name: trainer.logger.get_checkpoint() for name, trainer in (("watched", watched), ("alone", alone))}
    assert logged["watched"]["val_losses"] == logged["alone"]["val_losses"]
    sent = {(key, step): value for key, value, step in elsewhere}
    for name in MONITORED:
        key = f"{CURVE_PREFIX}{name}"
        assert [sent[key, epoch] for epoch in range(2)] == logged["watched"][key]
        assert [math.isfinite(value) for value in logged["watched"][key]] == [True, True], key
        assert [math.isnan(value) for value in logged["alone"][key]] == [True, True], key


def test_an_older_checkpoint_continues_with_complete_curves(trainer_of):
    train_epochs(trainer_of(epochs=3, pictures=True), 1)
    second = trainer_of(epochs=3, pictures=True)
    path = f"{second.output_folder}/checkpoint_latest.pth"
    checkpoint = torch.load(path, weights_only=True)
    for name in MONITORED:
        del checkpoint["logging"][f"{CURVE_PREFIX}{name}"]
    torch.save(checkpoint, path)
    second.load_checkpoint(path)
    train_epochs(second, 2)
    logging = second.logger.get_checkpoint()
    assert {len(logging[key]) for key in LOGGED} == {3}
    assert [math.isnan(value) for value in logging["crln_monitor_confidence"]] == [True, False, False]
    assert os.path.isfile(f"{second.output_folder}/progress_crln.png")


def test_the_report_shows_a_training_in_a_browser(trainer_of, tmp_path, monkeypatch, capsys):
    trainer = trainer_of(overlay_every=1, pictures=True)
    trainer.run_training()
    page = tmp_path / "page" / "report.html"
    run_command(monkeypatch, trainer.output_folder_base, "-o", page, "--baseline", trainer.output_folder)
    assert str(page) in capsys.readouterr().out
    text = page.read_text(encoding="utf-8")
    pictures = text.count("<img ")
    assert pictures == 1 + 3 * 2 + 1 + 3  # curves, three cases in two epochs, comparison, thumbnails
    for expected in (
        "3 labelled",
        "3 unlabelled",
        "16 × 16 × 16",
        "worth annotating next",
        "unl_000",
        "Comparison with",
    ):
        assert expected in text
    assert not re.findall(r"src=\"(?!data:)", text) and "<script" not in text
    linked = [page.parent / target for target in re.findall(r"href=\"([^\"]*)", text)]
    assert {"progress_crln.png", "crln_training.json"} <= {path.name for path in linked}
    assert all(path.exists() for path in linked)

    if CHROMIUM is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    # The page forbids scripts; this copy lets one count the pictures that have a size.
    probe = page.with_name("probe.html")
    count = (
        "<script>addEventListener('load', () => { document.querySelectorAll('details').forEach(d => d.open = true);"
        "const sizes = [...document.images].map(i => i.naturalWidth > 100 && i.getBoundingClientRect().width > 100"
        " && i.getBoundingClientRect().height > 30);"
        "document.title = 'sized ' + sizes.filter(Boolean).length + ' overflow ' +"
        " (document.documentElement.scrollWidth > innerWidth); })</script></body>"
    )
    probe.write_text(re.sub(r"<meta http-equiv[^>]*>", "", text).replace("</body>", count), encoding="utf-8")
    assert console_errors(browse(page, tmp_path / "first").stderr) == []
    result = browse(probe, tmp_path / "second")
    assert console_errors(result.stderr) == []
    assert f"<title>sized {pictures} overflow false</title>" in result.stdout


def browse(page, profile) -> subprocess.CompletedProcess:
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "--window-size=1200,900", "--dump-dom", page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=180, check=True)


def console_errors(stderr: str) -> list[str]:
    """Return the page's errors, without the browser's own messages about a missing desktop."""
    return [line for line in stderr.splitlines() if "CONSOLE" in line]


def test_a_folder_without_a_model_is_named(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit) as exit_:
        run_command(monkeypatch, tmp_path)
    assert exit_.value.code == 2
    assert "is not a model folder: expected plans.json and fold_X" in capsys.readouterr().err

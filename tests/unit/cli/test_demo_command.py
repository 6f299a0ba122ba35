"""Options of the demo: what was typed counts, with ``--fast`` too."""

import pytest

from nnunetv2_crln.cli.demo import build_parser, settings_of
from nnunetv2_crln.demo.settings import FAST, DemoSettings


def chosen(*arguments: str) -> DemoSettings:
    return settings_of(build_parser().parse_args(arguments))


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        ([], DemoSettings()),
        (["--fast"], FAST),
        (["--fast", "--epochs", "3", "--test", "5"], DemoSettings(labelled=3, unlabelled=6, held_out=5, epochs=3)),
        (
            ["--labelled", "2", "--seed", "7", "-device", "mps", "--methods", "supervised", "mean_teacher"],
            DemoSettings(labelled=2, seed=7, device="mps", methods=("supervised", "mean_teacher")),
        ),
    ],
)
def test_only_what_was_typed_replaces_the_settings(arguments, settings):
    assert chosen(*arguments) == settings


@pytest.mark.parametrize(("flag", "value", "least"), [("--test", "0", 1), ("--epochs", "0", 1), ("--seed", "-1", 0)])
def test_a_number_that_is_too_small_is_named_by_its_flag(capsys, flag, value, least):
    with pytest.raises(SystemExit):
        chosen("--fast", flag, value)
    assert f"argument {flag}: '{value}': expected a whole number, {least} or more" in capsys.readouterr().err


def test_the_help_states_both_sets_of_settings():
    text = " ".join(build_parser().format_help().split())
    assert f"epochs of 50 iterations; default: {DemoSettings().epochs}, with --fast {FAST.epochs}" in text
    assert f"held-out labelled cases; default: {DemoSettings().held_out}, with --fast {FAST.held_out}" in text

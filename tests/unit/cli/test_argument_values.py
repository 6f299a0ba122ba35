"""Numbers and names that make no sense are refused by the parser of every command, before any work."""

import argparse
from importlib import import_module
from pathlib import Path

import pytest

from nnunetv2_crln.cli.commands import own_commands
from nnunetv2_crln.cli.convert import conversions
from nnunetv2_crln.dataset_conversion.common.command import build_parser as build_conversion_parser
from nnunetv2_crln.plan_and_preprocess.options import _is_spacing
from nnunetv2_crln.raw_dataset.dataset_argument import dataset_id

PARSERS = {
    **{command.name: import_module(command.module).build_parser() for command in own_commands()},
    "conversion": build_conversion_parser("Convert.", 1, "Name", 1),
}
VALUES = [
    pytest.param(action, id=f"{name} {action.option_strings[0]}")
    for name, parser in PARSERS.items()
    for action in parser._actions
    if action.option_strings and action.nargs != 0 and not action.choices and action.type is not Path
]
# Matched with what is there, or with patterns of their own, before any work.
CHECKED_ELSEWHERE = {"--channels", "--prefix", "--cases", "--methods", "-overwrite_target_spacing"}
NOT_NUMBERS = ("nan", "inf", "-inf", "1e999", "-1", "-0.5", "one", "")
NOT_NAMES = ("", " ", ".", "..", "../x", "/x", "a/b", "a\\b", "C:x", "a\0b", "a\nb")
ZERO_COUNTS = {"--seed", "--gpus", "-f", "--part_id", "--confidence"}


def read(action: argparse.Action, text: str):
    """Return what an argument becomes, or None if it is refused."""
    try:
        return action.type(text)
    except (argparse.ArgumentTypeError, ValueError):
        return None


@pytest.mark.parametrize("action", VALUES)
def test_every_value_has_a_type_that_refuses_nonsense(action):
    flag = action.option_strings[0]
    if flag in CHECKED_ELSEWHERE or action.type is dataset_id:
        return
    assert action.type is not None and action.type not in (int, float, str), "see utilities/argument_types.py"
    is_number = any(isinstance(read(action, text), (int, float)) for text in ("1", "2"))
    accepted = [text for text in (NOT_NUMBERS if is_number else NOT_NAMES) if read(action, text) is not None]
    assert not accepted
    if is_number:
        assert (read(action, "0") is not None) == (flag in ZERO_COUNTS)


def test_the_conversions_add_no_values_of_their_own():
    """Their parsers are made in functions; their modules must not name a type that takes everything."""
    for module in conversions().values():
        source = Path(import_module(module).__file__).read_text(encoding="utf-8")
        assert "type=int" not in source and "type=float" not in source


@pytest.mark.parametrize(
    ("flag", "value"), [("-step_size", "0"), ("-step_size", "2"), ("--keep", "0"), ("--keep", "1.1")]
)
def test_shares_lie_above_0_and_at_most_at_1(flag, value, capsys):
    with pytest.raises(SystemExit):
        PARSERS["nnUNetv2_crln_pseudo_label"].parse_args(["model", "-d", "250", flag, value])
    assert f"argument {flag}: '{value}': expected a number above 0, at most 1." in capsys.readouterr().err


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "x"])
def test_spacings_are_numbers_above_0(value):
    assert _is_spacing(("1", "1", "0.5")) and not _is_spacing(("1", "1", value))

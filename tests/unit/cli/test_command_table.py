"""Every command is in the table and in pyproject.toml, says what it does, and ends its help with an example."""

import io
import re
import shlex
import sys
from importlib import import_module
from pathlib import Path

import pytest

from nnunetv2_crln.cli.commands import COMMANDS, own_commands
from nnunetv2_crln.cli.convert import conversions
from nnunetv2_crln.cli.main import main, overview

PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"

each_command = pytest.mark.parametrize("command", own_commands(), ids=lambda command: command.name)


def test_the_table_and_the_console_scripts_are_the_same():
    section = PYPROJECT.read_text(encoding="utf-8").split("[project.scripts]")[1].split("\n[")[0]
    scripts = dict(re.findall(r'^(\w+) = "([\w.]+):main"', section, re.MULTILINE))
    assert scripts.pop("nnUNetv2_crln") == "nnunetv2_crln.cli.main"
    assert scripts == {command.name: command.module for command in own_commands()}


@each_command
def test_help_says_what_the_command_does_and_ends_with_an_example(command):
    parser = import_module(command.module).build_parser()
    assert parser.prog == command.name
    assert re.match(r"[A-Z][a-z]+ [^.]+\.", parser.description.replace("\n", " ")) or ":" in parser.description
    *_, example = parser.format_help().split("\nexample:\n")
    assert command.name in example
    for line in example.strip().splitlines():
        name, *options = shlex.split(line)
        known = parser._option_string_actions
        unknown = [option for option in options if option.startswith("-") and option not in known]
        assert name != command.name or not unknown or command.name == "nnUNetv2_crln_convert"


@pytest.mark.parametrize(
    "arguments",
    [
        *([command.name] for command in own_commands()),
        *(["convert", dataset] for dataset in conversions()),
    ],
    ids=" ".join,
)
def test_help_is_printed_on_a_terminal_that_lacks_its_characters(arguments, monkeypatch):
    """argparse prints it, so that parsing must happen where the terminal has been made tolerant."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    name, *others = arguments
    module = {command.name: command.module for command in own_commands()}.get(name, "nnunetv2_crln.cli.convert")
    with pytest.raises(SystemExit) as ended:
        import_module(module).main([*others, "-h"])
    assert ended.value.code == 0
    sys.stdout.flush()
    assert raw.getvalue().startswith(b"usage: ")


def test_the_overview_shows_every_command_with_its_line(capsys):
    main([])
    lines = capsys.readouterr().out.splitlines()
    for command in (command for group in COMMANDS.values() for command in group):
        assert any(line.split()[:1] == [command.name] and line.endswith(command.summary) for line in lines)
    assert max(map(len, lines)) <= 100


def test_a_command_can_be_named_after_the_entry_point(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["report", "-h"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: nnUNetv2_crln_report")


@pytest.mark.parametrize("dataset", conversions())
def test_every_conversion_is_one_command(dataset, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["convert", dataset, "--help"])
    assert ended.value.code == 0
    output = capsys.readouterr().out
    assert output.startswith(f"usage: nnUNetv2_crln_convert {dataset}")
    assert "https://" in output and "--num_labelled" in output


def test_the_overview_is_what_a_wrong_name_points_to(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["evalute"])
    assert ended.value.code == 2
    assert "Did you mean evaluate?" in capsys.readouterr().err
    assert overview().count("nnUNetv2_crln_evaluate") == 1

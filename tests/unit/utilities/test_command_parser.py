"""Help and mistakes of every command."""

import pytest

from nnunetv2_crln.utilities.command_parser import CommandParser


@pytest.fixture
def parser():
    parser = CommandParser("program", "Do something. In two sentences.", "program --number 3\nprogram -c 2d")
    parser.add_argument("--number", type=int)
    parser.add_argument("-c", choices=("2d", "3d_fullres"))
    return parser


def test_help_begins_with_the_purpose_and_ends_with_the_example(parser):
    text = parser.format_help()
    assert "Do something. In two sentences." in text
    assert text.endswith("example:\n  program --number 3\n  program -c 2d\n")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--nmber", "3"], "Did you mean --number?"),
        (["-c", "3d_fulres"], "Did you mean 3d_fullres?"),
        (["--number", "three"], "invalid int value: 'three'."),
        (["word"], "unrecognized arguments: word."),
    ],
)
def test_a_mistake_ends_with_what_was_probably_meant(parser, capsys, arguments, text):
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.strip().endswith(text)


def test_a_description_with_line_breaks_stays_as_it_is():
    assert "first\n  second" in CommandParser("p", "first\n  second", "p").format_help()

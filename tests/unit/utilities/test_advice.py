"""Advised commands can be pasted into a shell."""

import shlex

import pytest

from nnunetv2_crln.utilities.advice import (
    command_line,
    preprocess_labelled_command,
    preprocess_unlabelled_command,
)


@pytest.mark.parametrize("words", [["a", "-b", "c d"], ["x", "it's", "$HOME", "*"], ["n", 3, "-f", 0]])
def test_a_shell_splits_a_line_into_the_same_words(words):
    assert shlex.split(command_line(*words)) == [str(word) for word in words]


def test_both_commands_name_the_whole_number_and_the_plans():
    for advised in (preprocess_unlabelled_command, preprocess_labelled_command):
        words = shlex.split(advised("Dataset1042_Heart_2", ["2d", "3d_fullres"], "my plans"))
        assert words[words.index("-d") + 1] == "1042" and "my plans" in words
        assert words[words.index("-c") + 1 :][:2] == ["2d", "3d_fullres"]

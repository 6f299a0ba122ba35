"""Word the commands that messages advise, so that they can be pasted and do what is meant."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from nnunetv2_crln.layout import dataset_number

PREPROCESS = "nnUNetv2_crln_plan_and_preprocess"


def command_line(*words: object) -> str:
    """Join the words of a command, quoted for a shell where they need it.

    Example:
        >>> command_line("find", "/my data", "-delete")
        "find '/my data' -delete"
    """
    return " ".join(shlex.quote(str(word)) for word in words)


def ways_to_unlabelled_cases(dataset_name: str) -> str:
    """Return sentences on how a dataset comes to unlabelled cases, for messages that it has none.

    Args:
        dataset_name: ``DatasetXXX_Name``.

    Returns:
        Text without a full stop at its end, because a command follows.
    """
    number = dataset_number(dataset_name)
    return (
        "Put scans without labels into imagesUl "
        f"({command_line('nnUNetv2_crln_add_unlabelled', '-d', number)} FOLDER checks them and makes links). If all "
        "your scans are labelled, make a dataset in which some labels are hidden, to see what the method would gain: "
        f"{command_line('nnUNetv2_crln_hide_labels', '-d', number, '-o', 'NEW_ID', '--num_labelled', 'N')}"
    )


def preprocess_unlabelled_command(dataset_name: str, configurations: Iterable[str], plans: str) -> str:
    """Return the command that preprocesses imagesUl for plans that exist, without planning anew.

    Args:
        dataset_name: ``DatasetXXX_Name``.
        configurations: Names of the configurations.
        plans: Name of the plans file without ``.json``, as ``nnUNetv2_train -p`` takes it.

    Returns:
        One line to paste.
    """
    number = dataset_number(dataset_name)
    return command_line(
        PREPROCESS, "-d", number, "-c", *configurations, "-overwrite_plans_name", plans, "--unlabelled_only"
    )


def preprocess_labelled_command(dataset_name: str, configurations: Iterable[str], plans: str) -> str:
    """Return nnU-Net's command that preprocesses the labelled cases for plans that exist.

    Args:
        dataset_name: ``DatasetXXX_Name``.
        configurations: Names of the configurations.
        plans: Name of the plans file without ``.json``.

    Returns:
        One line to paste.
    """
    number = dataset_number(dataset_name)
    return command_line("nnUNetv2_preprocess", "-d", number, "-plans_name", plans, "-c", *configurations)

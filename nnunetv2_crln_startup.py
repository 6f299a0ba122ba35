"""Tells nnU-Net where our trainers are, at the start of every Python process of the environment.

nnU-Net looks for trainers in the folders listed in the variable ``nnUNet_extTrainer``. ``nnunetv2_crln.pth`` (and
``nnunetv2_crln.start`` for Python 3.15 and later, PEP 829) call :func:`register`, so the stock commands know
``-tr nnUNetTrainer_CRLN`` right after ``pip install``, with nothing exported.

This file lies beside the package rather than inside it: importing it must not import ``nnunetv2_crln``, which
would cost time in every Python process and pin one copy of the package before a developer can choose another.
"""

import os

VARIABLE = "nnUNet_extTrainer"


def trainers_folder() -> str:
    """Folder of our re-exports, in an installed wheel and in a checkout alike."""
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), "nnunetv2_crln", "nnunet_trainers")


def register() -> None:
    """Append our folder to ``nnUNet_extTrainer``. Keeps the user's folders first, never adds ours twice or raises."""
    try:
        folder = trainers_folder()
        listed = os.environ.get(VARIABLE, "")
        if folder in listed.split(os.pathsep) or not os.path.isdir(folder):
            return
        os.environ[VARIABLE] = f"{listed}{os.pathsep}{folder}" if listed else folder
    except Exception:  # a start-up hook must never disturb the other programs of the environment
        pass

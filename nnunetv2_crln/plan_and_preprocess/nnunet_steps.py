"""Prepare nnU-Net's steps: check what they read, and explain their errors."""

from __future__ import annotations

import contextlib
import os
import textwrap
import traceback
from collections.abc import Iterator
from pathlib import Path

from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.plan_and_preprocess.options import Options
from nnunetv2_crln.raw_dataset.check_hidden_labels import verify_hidden_labels
from nnunetv2_crln.raw_dataset.check_images import verify_images
from nnunetv2_crln.raw_dataset.check_labels import verify_labels
from nnunetv2_crln.raw_dataset.folders import DatasetFolders
from nnunetv2_crln.raw_dataset.readers import quiet_reader_search
from nnunetv2_crln.utilities.light_pools import light_pools
from nnunetv2_crln.utilities.print_warnings import print_warnings


def refuse_no_process() -> None:
    """Refuse ``nnUNet_n_proc_DA=0``: trainings can do without loader processes, nnU-Net's planner fails without one.

    Raises:
        UserError: The variable is 0.
    """
    if os.environ.get("nnUNet_n_proc_DA", "").strip() == "0":
        raise UserError(
            "The variable nnUNet_n_proc_DA is 0, and nnU-Net's planner needs at least 1. Set it for this command: "
            "export nnUNet_n_proc_DA=1. Trainings may use 0."
        )


def verify(folders: DatasetFolders, options: Options) -> None:
    """Open every image and every label in labelsTr and labelsUl for the plugin's checks and nnU-Net's.

    Args:
        folders: Folders of the dataset.
        options: Options of the command.

    Raises:
        UserError: Images or labels are wrong.
    """
    print_warnings(verify_images(folders.raw, options.fingerprint_processes, options.show_progress))
    print_warnings(verify_labels(folders.raw, options.fingerprint_processes, options.show_progress))
    print_warnings(verify_hidden_labels(folders.raw, options.fingerprint_processes, options.show_progress))
    with explaining_nnunet_errors("check of the labelled cases", folders, options):
        verify_dataset_integrity(str(folders.raw), options.fingerprint_processes)


@contextlib.contextmanager
def explaining_nnunet_errors(step: str, folders: DatasetFolders, options: Options) -> Iterator[None]:
    """Replace an error of one of nnU-Net's steps by the faults that the plugin's checks find in the files.

    A step that asks for one worker process runs in a thread of this process.

    Args:
        step: Step of nnU-Net, for the message.
        folders: Folders of the dataset.
        options: Options of the command.

    Yields:
        Nothing.

    Raises:
        UserError: Replaces any other exception.
    """
    try:
        with quiet_reader_search(), light_pools():
            yield
    except UserError:
        raise
    except Exception as error:
        if not options.verify:
            verify_images(folders.raw, options.fingerprint_processes, options.show_progress)
            verify_labels(folders.raw, options.fingerprint_processes, options.show_progress)
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise UserError(
            f"nnU-Net's {step} failed for {folders.raw}: {type(error).__name__}: "
            f"{textwrap.shorten(str(error), 400) or '(no text)'} ({Path(place.filename).name}, line {place.lineno}). "
            "The files passed our checks: correct what the message names, or report it with the dataset.json."
        ) from error

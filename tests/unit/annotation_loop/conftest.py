"""Another disk, simulated."""

import errno
import os

import pytest


@pytest.fixture
def every_folder_is_a_disk(monkeypatch):
    """Renaming works within a folder alone."""
    replace = os.replace

    def within_a_folder(source, target):
        if os.path.dirname(source) != os.path.dirname(target):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        replace(source, target)

    monkeypatch.setattr(os, "replace", within_a_folder)

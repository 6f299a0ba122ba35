"""Fixtures shared by all tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from synthetic import write_dataset


@pytest.fixture
def nnunet_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Fresh nnUNet_raw, nnUNet_preprocessed and nnUNet_results folders; spawned workers inherit them too."""
    folders = SimpleNamespace(
        raw=tmp_path / "raw", preprocessed=tmp_path / "preprocessed", results=tmp_path / "results"
    )
    for key, folder in vars(folders).items():
        folder.mkdir()
        monkeypatch.setenv(f"nnUNet_{key}", str(folder))
    monkeypatch.delenv("nnUNet_extTrainer", raising=False)
    return folders


@pytest.fixture
def make_dataset(nnunet_folders: SimpleNamespace) -> Callable[..., Path]:
    """Factory that writes a synthetic dataset into nnUNet_raw; arguments as in :func:`synthetic.write_dataset`."""

    def make(**options) -> Path:
        return write_dataset(nnunet_folders.raw, **options)

    return make

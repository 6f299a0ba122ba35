"""Make the random preprocessed data of benchmarks/cost/workbench.py, small enough for tests."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import workbench


def tiny_setting(patches: int = 2, **crln) -> workbench.Setting:
    """``patches`` labelled and as many unlabelled patches of 16 voxels a side."""
    return workbench.Setting((16, 16, 16), (4, 8, 8), patches, (1, 1, 1), crln={"num_anchors": 8, **crln})


@contextlib.contextmanager
def nnunet_paths_in(work: Path) -> Iterator[pytest.MonkeyPatch]:
    """nnU-Net's folders lie in ``work``; all that changes in the environment is put back."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("raw", "preprocessed", "results", "n_proc_DA", "def_n_proc"):
            patch.setenv(f"nnUNet_{name}", "")  # what set_paths changes is put back
        workbench.set_paths(work)
        yield patch

"""A CUDA device that is not there: code paths, shapes, dtypes and memory of a GPU, on torch's fake tensors.

A small replacement of the CUDA runtime (two C files beside this one, compiled with gcc and preloaded) says that there
is one idle H100. ``torch.cuda.is_available()``, autocast, GradScaler, the fused optimiser and autograd's device threads
then behave as on a GPU. Tensors must be fake ones (``torch._subclasses.FakeTensorMode``): they have a device, dtype
and shape and raise where devices are mixed up, an operator is missing or the host would wait for a value.

What it cannot show: numbers, cuDNN's choice of algorithms and its workspaces, races, real time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_MARK = "CRLN_PRETENDED_CUDA"
_SOURCES = {"libcudart_pretended.so": "pretended_cuda_runtime.c", "libcuda.so.1": "pretended_cuda_driver.c"}


def active() -> bool:
    """Whether this process runs on the pretended device."""
    return _MARK in os.environ


def _includes() -> list[Path]:
    import torch

    packages = Path(torch.__file__).parents[1]
    return [packages / "nvidia" / "cu13" / "include", packages / "triton" / "backends" / "nvidia" / "include"]


def reason_against() -> str | None:
    """Return why the device cannot be pretended here, or None where it can."""
    import torch

    if not sys.platform.startswith("linux"):
        return "a CUDA runtime is pretended on Linux only"
    if torch.version.cuda is None:
        return "this torch is built without CUDA"
    if int(torch.version.cuda.split(".")[0]) != 13:
        return f"the pretended runtime speaks CUDA 13, this torch is built for {torch.version.cuda}"
    if shutil.which("gcc") is None:
        return "gcc is missing"
    missing = [str(folder) for folder in _includes() if not folder.is_dir()]
    return f"headers are missing: {', '.join(missing)}" if missing else None


def environment() -> dict[str, str]:
    """Compile the replacement if needed and return the environment of a process with the pretended device."""
    import torch

    folder = Path(tempfile.gettempdir()) / f"crln_pretended_cuda_{os.getuid()}_{torch.__version__}"
    folder.mkdir(exist_ok=True)
    for library, source in _SOURCES.items():
        _compile(Path(__file__).with_name(source), folder / library)
    return {
        **os.environ,
        "LD_PRELOAD": str(folder / next(iter(_SOURCES))),
        "LD_LIBRARY_PATH": str(folder),
        "CUDA_VISIBLE_DEVICES": "0",
        "OMP_NUM_THREADS": "1",
        _MARK: "1",
    }


def _compile(source: Path, library: Path) -> None:
    if library.exists() and library.stat().st_mtime > source.stat().st_mtime:
        return
    options = [f"-I{folder}" for folder in _includes()] + [f"-Wl,-soname,{library.name}"]
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:  # others may compile it at the same moment
        built = Path(folder) / library.name
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-w", *options, "-o", built, source], check=True)
        built.replace(library)


def restart() -> None:
    """Start this script anew on the pretended device, unless it runs there already.

    Raises:
        SystemExit: It cannot be pretended here; says why.
    """
    if active():
        return
    if (reason := reason_against()) is not None:
        raise SystemExit(f"No pretended CUDA device: {reason}")
    os.execve(sys.executable, [sys.executable, *sys.argv], environment())

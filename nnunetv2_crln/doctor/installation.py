"""Examine the installation: versions, trainer, device and environment variables."""

import contextlib
import io
import os
import platform
import re
import shlex
import shutil
import sys
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from nnunetv2_crln import __version__
from nnunetv2_crln.doctor.finding import NOTE, OK, PROBLEM, WARNING, Finding, as_findings
from nnunetv2_crln.raw_dataset.environment import folder_fault, similar_variable
from nnunetv2_crln.utilities.cores import usable_cores

PACKAGE = Path(__file__).parents[1]
TRAINER = "nnUNetTrainer_CRLN"
EXTERNAL_TRAINERS = "nnUNet_extTrainer"
_FOLDERS = {
    "nnUNet_raw": "the raw datasets",
    "nnUNet_preprocessed": "the preprocessed datasets, on a fast disk",
    "nnUNet_results": "the trained models",
}
_LITTLE_SHARED_MEMORY = 1 << 30
_LITTLE_SPACE = 10 << 30


def examine_installation() -> list[Finding]:
    """Check versions, trainer, device and environment variables."""
    checks = (_versions, _trainer, _device, _shared_memory, _folders)
    return [finding for check in checks for finding in as_findings(check)]


def _versions() -> Iterator[Finding]:
    yield Finding(OK, "Python", f"{platform.python_version()} at {sys.executable}")
    yield Finding(OK, "nnunetv2_crln", f"{__version__} at {PACKAGE}")
    try:
        requirements = metadata.requires("nnunetv2_crln") or []
    except metadata.PackageNotFoundError:
        yield Finding(
            PROBLEM, "nnunetv2_crln", "runs from a folder, but is not installed", "pip install . in the repository."
        )
        return
    for requirement in requirements:
        if "extra ==" not in requirement:
            yield _requirement(requirement)


def _requirement(requirement: str) -> Finding:
    name, wanted = re.match(r"([\w.-]+)\s*(.*)", requirement).groups()  # type: ignore[union-attr]
    fix = f"pip install '{requirement}'"
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(PROBLEM, name, "not installed", fix)
    if not _satisfies(version, wanted):
        return Finding(PROBLEM, name, f"{version}, but this version needs {wanted}", fix)
    return Finding(OK, name, version)


def _satisfies(version: str, wanted: str) -> bool:
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:  # "packaging" comes with many packages, but none of the requirements guarantees it
        return True
    return SpecifierSet(wanted).contains(version, prereleases=True)


def _trainer() -> Iterator[Finding]:
    listed = os.environ.get(EXTERNAL_TRAINERS, "")
    folder = str(PACKAGE / "nnunet_trainers")
    hook = "nnunetv2_crln_startup" in sys.modules
    # nnU-Net prints where it searches, and imports all of its trainers, with packages that warn of each other.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

        try:
            found = recursive_find_trainer_class_by_name(TRAINER)
        except Exception as error:
            reason = f"nnU-Net does not find it: {str(error) or type(error).__name__}"
            yield Finding(PROBLEM, TRAINER, reason, _trainer_fix(folder in listed.split(os.pathsep), folder))
            return
    if not found.__module__.startswith("nnunetv2_crln."):
        yield Finding(
            WARNING,
            TRAINER,
            f"nnU-Net takes another class of that name, from module {found.__module__}",
            f"Rename that class, or remove its folder from {EXTERNAL_TRAINERS}.",
        )
        return
    way = "the start-up hook of the installation" if hook else f"{EXTERNAL_TRAINERS}, set by you"
    yield Finding(OK, TRAINER, f"{found.__module__}, found through {way}")
    yield Finding(NOTE, EXTERNAL_TRAINERS, listed)


def _trainer_fix(listed: bool, folder: str) -> str:
    if listed:
        return (
            "The folder is known to nnU-Net, the error is in a module that it imports: repair the package named above."
        )
    return (
        "install this package again (in its repository: pip install --force-reinstall --no-deps .), or export "
        f"{EXTERNAL_TRAINERS}={shlex.quote(folder)}"
    )


def _device() -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            yield Finding(OK, f"GPU {index}", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    elif getattr(torch.backends, "mps", None) and torch.backends.mps.is_available():
        yield Finding(OK, "GPU", "Apple: -device cpu is tested, -device mps is not")
    elif shutil.which("nvidia-smi"):
        built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
        yield Finding(
            PROBLEM,
            "GPU",
            f"there is an NVIDIA driver, but torch {torch.__version__} (built for {built}) sees no GPU",
            "Compare with the driver's CUDA version in nvidia-smi; install a torch built for it (pytorch.org).",
        )
    else:
        yield Finding(NOTE, "GPU", "none: use -device cpu, which suits the demo and small datasets only")
    yield _processor()


def _processor() -> Finding:
    from nnunetv2.configuration import default_num_processes as processes

    cores = usable_cores()
    if processes <= cores:
        return Finding(NOTE, "CPU", f"{cores} cores")
    return Finding(
        NOTE,
        "CPU",
        f"{cores} cores, but nnU-Net's own trainers validate with {processes} processes, seconds each to start",
        f"export nnUNet_def_n_proc={cores}",
    )


def _shared_memory() -> Iterator[Finding]:
    folder = Path("/dev/shm")
    if folder.is_dir() and (size := shutil.disk_usage(folder).total) < _LITTLE_SHARED_MEMORY:
        yield Finding(
            WARNING,
            "shared memory",
            f"{size / 2**20:.0f} MiB in /dev/shm; nnU-Net's workers pass batches through it",
            "In Docker: run with --ipc=host or --shm-size=8g.",
        )


def _folders() -> Iterator[Finding]:
    for variable, purpose in _FOLDERS.items():
        value = os.environ.get(variable)
        if not value:
            yield Finding(
                PROBLEM,
                variable,
                f"not set{similar_variable(variable)}",
                f"export {variable}=/path/to/folder   ({purpose})",
            )
        elif fault := folder_fault(variable):
            yield Finding(PROBLEM, variable, f"{value}: {fault[0]}", fault[1])
        elif not Path(value).is_dir():
            yield Finding(
                PROBLEM,
                variable,
                f"{value} is not a folder",
                f"mkdir -p {shlex.quote(value)}, or correct the variable.",
            )
        elif not os.access(value, os.W_OK):
            yield Finding(WARNING, variable, f"{value} cannot be written to", "Ask for write permission.")
        elif (free := shutil.disk_usage(value).free) < _LITTLE_SPACE and variable != "nnUNet_raw":
            yield Finding(
                WARNING, variable, f"{value}, {free / 2**30:.1f} GiB left", "Make room or choose another disk."
            )
        else:
            yield Finding(OK, variable, value)

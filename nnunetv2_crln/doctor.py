"""Diagnose an installation or a dataset and suggest a fix for each problem.

No check may fail because the thing it examines is broken: every check turns errors into findings.
"""

import contextlib
import io
import os
import platform
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from nnunetv2_crln import __version__
from nnunetv2_crln.errors import UserError
from nnunetv2_crln.raw_dataset.environment import similar_variable
from nnunetv2_crln.utilities.cores import usable_cores

OK, NOTE, WARNING, PROBLEM = "ok", "note", "warning", "problem"

TRAINER = "nnUNetTrainer_CRLN"
EXTERNAL_TRAINERS = "nnUNet_extTrainer"
_FOLDERS = {
    "nnUNet_raw": "the raw datasets",
    "nnUNet_preprocessed": "the preprocessed datasets, on a fast disk",
    "nnUNet_results": "the trained models",
}
_LITTLE_SHARED_MEMORY = 1 << 30
_LITTLE_SPACE = 10 << 30


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        state: ``ok``, ``note``, ``warning`` or ``problem``.
        name: Name of the examined thing.
        found: Result of the check.
        fix: Suggested fix; empty if none is needed.
    """

    state: str
    name: str
    found: str
    fix: str = ""


def examine_installation() -> list[Finding]:
    """Check versions, trainer, device and environment variables."""
    checks = (_versions, _trainer, _device, _shared_memory, _folders)
    return [finding for check in checks for finding in _call_safely(check)]


def examine_dataset(dataset_id: int, processes: int = 1) -> list[Finding]:
    """Check the folders and files of one dataset, search for repeated images, and check the preprocessed data.

    Args:
        dataset_id: Number in ``DatasetXXX_Name``.
        processes: Number of processes that read images.

    Returns:
        Findings, in the order of the checks.
    """
    checks = (_files, _images, _labels, _hidden_labels, _split, _preprocessed, _domain_shift)
    findings = [finding for check in checks for finding in _call_safely(check, dataset_id, processes)]
    # One mistake in dataset.json is met by several checks.
    return list({(finding.state, finding.found): finding for finding in reversed(findings)}.values())[::-1]


def _call_safely(check: Callable[..., Iterator[Finding]], *arguments: int) -> Iterator[Finding]:
    name = check.__name__.strip("_").replace("_", " ")
    try:
        yield from check(*arguments)
    except UserError as error:
        yield Finding(PROBLEM, name, str(error))
    except Exception as error:  # a broken package can raise anything at import
        yield Finding(PROBLEM, name, f"{type(error).__name__}: {error}", "Repair the package named in this message.")


def _versions() -> Iterator[Finding]:
    yield Finding(OK, "Python", f"{platform.python_version()} at {sys.executable}")
    yield Finding(OK, "nnunetv2_crln", f"{__version__} at {Path(__file__).parent}")
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
    folder = str(Path(__file__).parent / "nnunet_trainers")
    hook = "nnunetv2_crln_startup" in sys.modules
    with contextlib.redirect_stdout(io.StringIO()):  # nnU-Net prints where it searches
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
    return f"pip install --force-reinstall --no-deps nnunetv2_crln, or export {EXTERNAL_TRAINERS}={shlex.quote(folder)}"


def _device() -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            yield Finding(OK, f"GPU {index}", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    elif getattr(torch.backends, "mps", None) and torch.backends.mps.is_available():
        yield Finding(OK, "GPU", "Apple, use -device mps")
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


def _files(dataset_id: int, _: int) -> Iterator[Finding]:
    from nnunetv2_crln.raw_dataset.cases import find_labelled_cases, find_unlabelled_cases
    from nnunetv2_crln.raw_dataset.check_names import check_dataset
    from nnunetv2_crln.raw_dataset.folders import find_dataset

    raw = find_dataset(dataset_id).raw
    for warning in check_dataset(raw):
        yield Finding(WARNING, raw.name, warning)
    labelled, unlabelled = len(find_labelled_cases(raw)), len(find_unlabelled_cases(raw))
    yield Finding(OK, raw.name, f"{labelled} labelled and {unlabelled} unlabelled cases")


def _images(dataset_id: int, processes: int) -> Iterator[Finding]:
    from nnunetv2_crln.raw_dataset.check_images import image_faults, image_oddities, leaks
    from nnunetv2_crln.raw_dataset.folders import find_dataset
    from nnunetv2_crln.raw_dataset.survey import Survey

    survey = Survey(find_dataset(dataset_id).raw, processes, show_progress=False)
    for text in image_faults(survey):
        yield Finding(PROBLEM, "images", text)
    for text in image_oddities(survey):
        yield Finding(WARNING, "images", text)
    groups = survey.duplicates()
    leaking = leaks(groups)
    for group in leaking:
        yield Finding(PROBLEM, "same image", " = ".join(group), "Keep it in one folder, or results mean nothing.")
    for group in groups:
        if group not in leaking:
            yield Finding(WARNING, "same image", " = ".join(group), "Keep one: copies count twice in training.")
    if not groups:
        yield Finding(OK, "same images", "none in imagesTr, imagesUl and imagesTs")


def _labels(dataset_id: int, processes: int) -> Iterator[Finding]:
    from nnunetv2_crln.raw_dataset.check_labels import verify_labels
    from nnunetv2_crln.raw_dataset.folders import find_dataset

    for text in verify_labels(find_dataset(dataset_id).raw, processes, show_progress=False):
        yield Finding(WARNING, "labels", text)


def _hidden_labels(dataset_id: int, processes: int) -> Iterator[Finding]:
    from nnunetv2_crln.raw_dataset.check_hidden_labels import verify_hidden_labels
    from nnunetv2_crln.raw_dataset.folders import find_dataset

    for text in verify_hidden_labels(find_dataset(dataset_id).raw, processes, show_progress=False):
        yield Finding(WARNING, "hidden labels", text)


def _split(dataset_id: int, _: int) -> Iterator[Finding]:
    from nnunetv2_crln.plan_and_preprocess.splits import cases_of_other_folds, unused_cases
    from nnunetv2_crln.raw_dataset.cases import find_labelled_cases
    from nnunetv2_crln.raw_dataset.folders import find_dataset

    folders = find_dataset(dataset_id)
    cases = list(find_labelled_cases(folders.raw))
    if unused := unused_cases(folders.preprocessed, cases):
        yield Finding(WARNING, "split", unused)
    for text in cases_of_other_folds(folders.preprocessed, cases):
        yield Finding(NOTE, "split", text)


def _preprocessed(dataset_id: int, _: int) -> Iterator[Finding]:
    from nnunetv2_crln.plan_and_preprocess.plans import check_plans
    from nnunetv2_crln.raw_dataset.folders import find_dataset
    from nnunetv2_crln.utilities.advice import PREPROCESS, command_line
    from nnunetv2_crln.utilities.files import read_json

    folders = find_dataset(dataset_id)
    found = False
    for path in sorted(folders.preprocessed.glob("*.json")):
        try:
            plans = read_json(path)
        except ValueError as error:
            yield Finding(PROBLEM, path.name, f"{path} is not valid JSON: {error}", "Correct or remove the file.")
            continue
        if not isinstance(plans, dict) or "plans_name" not in plans:
            continue
        found = True
        try:
            check_plans(plans, path)
        except UserError as error:
            yield Finding(PROBLEM, path.name, str(error))
            continue
        yield from _plans(folders.preprocessed, plans, path.stem)
    if not found:
        yield Finding(NOTE, "plans", f"none in {folders.preprocessed}", command_line(PREPROCESS, "-d", dataset_id))


def _plans(folder: Path, plans: dict, name: str) -> Iterator[Finding]:
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    from nnunetv2_crln.plan_and_preprocess.plans import is_second_stage

    manager = PlansManager(plans)
    for configuration in manager.available_configurations:
        if not is_second_stage(plans, configuration):
            yield _configuration(folder, manager, configuration, name)


def _configuration(folder: Path, manager: Any, configuration: str, plans: str) -> Finding:
    from nnunetv2_crln.plan_and_preprocess.unlabelled_status import unlabelled_status
    from nnunetv2_crln.settings import CRLNSettings
    from nnunetv2_crln.utilities.advice import preprocess_labelled_command, preprocess_unlabelled_command

    name = f"{plans} {configuration}"
    entry = manager.get_configuration(configuration)
    try:
        CRLNSettings.from_plans(entry.configuration)
    except UserError as error:
        return Finding(PROBLEM, name, str(error), f"Correct it in {folder / plans}.json.")
    labelled = folder / entry.data_identifier
    is_labelled = labelled.is_dir() and any(labelled.iterdir())
    command = preprocess_unlabelled_command(manager.dataset_name, [configuration], plans)
    if not is_labelled:
        first = preprocess_labelled_command(manager.dataset_name, [configuration], plans)
        return Finding(NOTE, name, "not preprocessed; to train it, two commands", f"{first} && {command}")
    try:
        status = unlabelled_status(folder, manager, configuration)
    except UserError:
        return Finding(PROBLEM, name, "labelled cases are preprocessed, unlabelled ones are not", command)
    if status.stale or status.missing:
        found = f"{len(status.ready)} ready, {len(status.stale)} of other plans, {len(status.missing)} missing"
        return Finding(PROBLEM, name, found, command)
    return Finding(OK, name, f"{len(status.ready)} unlabelled cases ready")


def _domain_shift(dataset_id: int, _: int) -> Iterator[Finding]:
    """Compare labelled and unlabelled cases as the first preprocessed configuration holds them."""
    from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class

    from nnunetv2_crln.evaluation.domain_shift import compare_datasets
    from nnunetv2_crln.raw_dataset.dataset_json import read_dataset_json
    from nnunetv2_crln.raw_dataset.folders import find_dataset
    from nnunetv2_crln.raw_dataset.unlabelled_groups import ALL, unlabelled_groups

    folders = find_dataset(dataset_id)
    pairs = [(folder.with_name(folder.name.removesuffix("_unlabelled")), folder) for folder in _unlabelled(folders)]
    pairs = [pair for pair in pairs if pair[0].is_dir() and any(pair[0].iterdir()) and any(pair[1].iterdir())]
    if not pairs:
        return
    labelled, unlabelled = (infer_dataset_class(str(folder))(str(folder)) for folder in pairs[0])
    groups = unlabelled_groups(read_dataset_json(folders.raw), unlabelled.identifiers)
    for shift in compare_datasets(labelled, unlabelled, groups or {ALL: list(unlabelled.identifiers)}):
        yield Finding(
            WARNING if shift.far else NOTE if shift.unusual or shift.too_few else OK,
            "domain shift",
            shift.describe(),
            "Pseudo labels of such cases may be wrong: annotate a few of them, or leave them out." if shift.far else "",
        )


def _unlabelled(folders: Any) -> list[Path]:
    """Return the folders of preprocessed unlabelled cases, 3D at full resolution first."""
    found = [path for path in folders.preprocessed.glob("*_unlabelled") if path.is_dir()]
    return sorted(found, key=lambda path: ("3d_fullres" not in path.name, path.name))

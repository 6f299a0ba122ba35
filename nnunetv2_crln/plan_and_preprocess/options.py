"""Options of ``nnUNetv2_crln_plan_and_preprocess``, checked before any work starts."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.plan_and_preprocess import article
from nnunetv2_crln.plan_and_preprocess.planners import find_nnunet_class, planner_default
from nnunetv2_crln.utilities.cores import one_per_core

DEFAULT_PROCESSES = {"2d": 8, "3d_fullres": 4, "3d_lowres": 8}
"""Defaults of nnU-Net by configuration; 4 for all others."""


@dataclass(frozen=True)
class Options:
    """Values of the command line.

    Attributes:
        datasets: Numbers of the datasets.
        configurations: Configurations to preprocess; those that a dataset lacks are skipped.
        verify: Open and check every image first.
        clean: Redo the fingerprint and the unlabelled cases that are already preprocessed.
        preprocessing: Preprocess after planning.
        fingerprint_extractor: Name of nnU-Net's class.
        planner: Name of nnU-Net's class.
        gpu_memory_target: GPU memory to plan for, in GB; None is the planner's default.
        preprocessor: Name of nnU-Net's class.
        target_spacing: Three numbers in mm as text, as nnU-Net takes them.
        plans_name: Name of the plans; None is the planner's default.
        small: Also write small plans, for CPUs and laptops.
        article: Dataset of the paper whose configuration is added; None adds none.
        num_labelled: Number of labelled cases that selects the paper's protocol; None takes the dataset's own number.
        fingerprint_processes: Number of processes for checks and fingerprint.
        processes: Numbers of processes for preprocessing: one for all or one per configuration; None is nnU-Net's
            default, bounded by the number of cores.
        verbose: Print more.
        show_progress: Show progress bars.
        unlabelled_only: Skip nnU-Net's own steps.
        num_parts: Number of parts into which imagesUl is split.
        part_id: Index of the part to do, from 0.

    Raises:
        UserError: A value is one that nnU-Net would refuse late or not at all; the message names the flag.
    """

    datasets: tuple[int, ...]
    configurations: tuple[str, ...] = ("2d", "3d_fullres", "3d_lowres")
    verify: bool = False
    clean: bool = False
    preprocessing: bool = True
    fingerprint_extractor: str = "DatasetFingerprintExtractor"
    planner: str = "ExperimentPlanner"
    gpu_memory_target: float | None = None
    preprocessor: str = "DefaultPreprocessor"
    target_spacing: tuple[str, ...] | None = None
    plans_name: str | None = None
    small: bool = False
    article: str | None = None
    num_labelled: int | None = None
    fingerprint_processes: int = 8
    processes: tuple[int, ...] | None = None
    verbose: bool = False
    show_progress: bool = True
    unlabelled_only: bool = False
    num_parts: int = 1
    part_id: int = 0

    def __post_init__(self) -> None:
        self._check_parts()
        self._check_processes()
        if self.num_labelled is not None:
            if self.article is None:
                raise UserError("--num_labelled chooses one of the paper's protocols: give --article DATASET too.")
            article.find_protocol(self.article, self.num_labelled)
        if self.target_spacing is not None and not _is_spacing(self.target_spacing):
            raise UserError(
                f"-overwrite_target_spacing {' '.join(self.target_spacing)}: expected three numbers above 0 (mm)."
            )
        find_nnunet_class("experiment_planning", self.fingerprint_extractor, "-fpe")
        find_nnunet_class("experiment_planning", self.planner, "-pl")
        find_nnunet_class("preprocessing", self.preprocessor, "-preprocessor_name")

    def _check_parts(self) -> None:
        if self.num_parts < 1 or not 0 <= self.part_id < self.num_parts:
            raise UserError(
                f"--num_parts {self.num_parts} --part_id {self.part_id}: expected 0 <= part_id < num_parts. "
                "Parts are counted from 0."
            )
        if self.part_id > 0 and not self.unlabelled_only:
            raise UserError(
                f"--part_id {self.part_id} needs --unlabelled_only: nnU-Net's own steps run once, with part 0, "
                "and two runs at a time would delete each other's files."
            )
        if self.unlabelled_only and not self.preprocessing:
            raise UserError("--unlabelled_only and --no_pp together leave nothing to do. Drop one of them.")

    def _check_processes(self) -> None:
        if self.processes is not None and len(self.processes) not in (1, len(self.configurations)):
            raise UserError(
                f"-np has {len(self.processes)} numbers, -c has {len(self.configurations)} configurations: give one "
                "number, or one for each."
            )
        if min([self.fingerprint_processes, *(self.processes or [])]) < 1:
            raise UserError("-np and -npfp count processes: give numbers above 0.")

    def processes_by_configuration(self) -> dict[str, int]:
        """Return the number of processes of each configuration, including that of the paper's protocol."""
        if self.processes is None:
            numbers = {name: one_per_core(DEFAULT_PROCESSES.get(name, 4)) for name in self.configurations}
        else:
            given = self.processes * len(self.configurations) if len(self.processes) == 1 else self.processes
            numbers = dict(zip(self.configurations, given, strict=True))
        if self.article:
            numbers.setdefault(article.CONFIGURATION, self.processes[-1] if self.processes else one_per_core(4))
        return numbers

    def expected_plans_name(self) -> str:
        """Return the name that nnU-Net's planner gives its plans under these options."""
        planner = find_nnunet_class("experiment_planning", self.planner, "-pl")
        return self.plans_name or planner_default(planner, "plans_name")

    def memory_target(self) -> float:
        """Return the GPU memory that plans are made for, in GB."""
        planner = find_nnunet_class("experiment_planning", self.planner, "-pl")
        return self.gpu_memory_target or planner_default(planner, "gpu_memory_target_in_gb")


def _is_spacing(values: tuple[str, ...]) -> bool:
    try:
        return len(values) == 3 and all(0 < float(value) < math.inf for value in values)
    except ValueError:
        return False

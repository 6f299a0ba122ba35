"""One run: what it trains, on what, for how long; its name says all of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from beds import BEDS, Bed
from methods import ABLATIONS, METHODS, Method

ITERATIONS_PER_EPOCH = 50
WARM_START_RATE = 0.1
# In names of runs, which are names of folders too. What changes no training is left out.
SHORT_NAMES = {
    "pseudo_label_loss": "loss",
    "confidence_threshold": "tau",
    "copy_paste_probability": "paste",
    "histogram_matching": "match",
    "refresh_every": "refresh",
    "refresh_max_share": "share",
    "rectification": "rect",
    "disagreement_weight": "differ",
    "cps_balance": "balance",
}
UNNAMED = {"monitor_every", "monitor_cases", "overlay_every", "quality_cases", "gradient_norm_every"}


@dataclass(frozen=True)
class Run:
    """A training and what it is measured on.

    Attributes:
        bed: Name of the data set.
        method: Key of ``METHODS`` or of the paper's experiments.
        labelled: Number of labelled cases or patients.
        draw: Choice of the labelled ones; also the seed of weights and patches.
        iterations: Length, after the warm start.
        learning_rate: Initial learning rate.
        warm_start: Iterations of the supervised training whose weights are the start; 0 starts from scratch.
        plan: Key of the bed's plans, ``nnunet`` or ``article``.
        scale: ``article``: factor on the voxels' sides.
        features: ``article``: channels at full resolution, instead of the protocol's.
        judge: ``test``: the held-out part. ``dev``: 30 unlabelled cases with their hidden labels, to choose settings
            with; the held-out part stays untouched by any choice.
        override: Settings that replace the method's.
        device: Device of torch.
    """

    bed: str
    method: str
    labelled: int
    draw: int
    iterations: int
    learning_rate: float = 0.05
    warm_start: int = 0
    plan: str = "cpu"
    scale: int = 1
    features: int | None = None
    judge: str = "test"
    override: tuple[tuple[str, Any], ...] = ()
    device: str = "cpu"

    @property
    def bed_spec(self) -> Bed:
        return BEDS[self.bed]()

    @property
    def method_spec(self) -> Method:
        return ABLATIONS[self.method] if self.plan == "article" and self.method in ABLATIONS else METHODS[self.method]

    @property
    def dataset(self) -> str:
        """Name of nnU-Net's dataset of this draw."""
        return dataset_name(self.bed_spec, self.labelled, self.draw, self.plan)

    @property
    def configuration(self) -> str:
        return "3d_article" if self.plan == "article" else self.bed_spec.configuration

    @property
    def name(self) -> str:
        parts = [self.bed, self.method, f"{self.labelled}labelled", f"draw{self.draw}", f"{self.iterations}it"]
        parts += [f"{SHORT_NAMES.get(key, key)}={value}" for key, value in self.override if key not in UNNAMED]
        parts += [f"lr={self.learning_rate:g}"]
        parts += [f"after{self.warm_start}supervised"] if self.warm_start else []
        parts += [self.plan] if self.plan != "cpu" else []
        parts += [f"scale{self.scale}"] if self.scale > 1 else []
        parts += [f"f{self.features}"] if self.features else []
        parts += ["dev"] if self.judge == "dev" else []
        return "__".join(parts)

    def needed(self) -> list[Run]:
        """Return the runs whose checkpoint this one starts from."""
        maker = self.maker()
        # The recipe's first training starts from the warm start, and itself needs it.
        warm = [self.warm()] if self.warm_start and self.method_spec.dataset != "recipe" else []
        return [*warm, *([maker] if maker else [])]

    def maker(self) -> Run | None:
        """Return the run whose network makes the dataset of this one; None if the dataset depends on no network."""
        method = {"recipe": "supervised", "ranked": "crln"}.get(self.method_spec.dataset or "")
        return replace(self, method=method, override=()) if method else None

    def warm(self) -> Run:
        """Return the supervised training that this one and its rivals start from."""
        return replace(
            self,
            method="supervised",
            iterations=self.warm_start,
            warm_start=0,
            learning_rate=WARM_START_RATE,
            override=(),
        )

    def arguments(self) -> list[str]:
        """Return the command line that makes this run alone."""
        found = ["--bed", self.bed, "--methods", self.method, "--labelled", str(self.labelled)]
        found += ["--draws", str(self.draw), "--iterations", str(self.iterations), "--plan", self.plan]
        found += ["--learning_rate", str(self.learning_rate), "--warm_start", str(self.warm_start)]
        found += ["--scale", str(self.scale), "--judge", self.judge, "--device", self.device]
        found += ["--features", str(self.features)] if self.features else []
        for key, value in self.override:
            found += ["--override", f"{key}={json.dumps(value)}"]
        return found


def dataset_name(bed: Bed, labelled: int, draw: int, plan: str) -> str:
    """Name nnU-Net's dataset of a draw; the number tells count and draw apart."""
    if labelled not in bed.counts:
        raise SystemExit(f"{bed.name} has runs with {', '.join(map(str, bed.counts))} labelled, not {labelled}.")
    number = 100 * (1 + bed.counts.index(labelled)) + draw
    return f"Dataset{number:03d}_{bed.name}_{labelled}labelled_{plan}"


def result_file(results: Path, run: Run) -> Path:
    """Return the file of a run's numbers."""
    return results / run.bed / ("dev" if run.judge == "dev" else "") / f"{run.name}.json"


def with_needs(runs: Sequence[Run]) -> list[Run]:
    """Return the runs in their order, each after those that it needs, each once."""
    found: dict[str, Run] = {}

    def add(run: Run) -> None:
        for need in run.needed():
            add(need)
        found.setdefault(run.name, run)

    for run in runs:
        add(run)
    return list(found.values())

"""Build the report of a model folder from its result files: one HTML page that opens from disk."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from nnunetv2_crln.evaluation.summary_file import load_summary
from nnunetv2_crln.model_folders import find_folds
from nnunetv2_crln.reporting.answers import answers
from nnunetv2_crln.reporting.blocks import Block, Heading, Link, Remarks, code, render_page
from nnunetv2_crln.reporting.fold import Fold, read_fold
from nnunetv2_crln.reporting.paired_scores import PairedFold
from nnunetv2_crln.reporting.section_annotation import quality_section
from nnunetv2_crln.reporting.section_groups import groups_section
from nnunetv2_crln.reporting.section_scores import (
    comparison_section,
    evaluation_section,
    given_comparison_section,
    validation_section,
)
from nnunetv2_crln.reporting.section_training import curves_section, facts_section, overlay_section

LINKED = ("*.png", "*.json", "*.txt", "*.pth", "validation/*.json")


def build_report(
    model_folder: str | Path,
    baseline_folder: str | Path | None = None,
    evaluations: Sequence[Path] = (),
    baseline_evaluations: Sequence[Path] = (),
    page_folder: str | Path | None = None,
) -> str:
    """Build the whole page.

    Args:
        model_folder: Folder of the trainer in nnUNet_results, or its fold_X.
        baseline_folder: Folder of another model to compare with; None for no comparison.
        evaluations: Results of nnUNetv2_crln_evaluate, for example for the test cases.
        baseline_evaluations: Results of nnUNetv2_crln_evaluate for the baseline, in the same order.
        page_folder: Folder in which the page will be; None for a page without links to files.

    Returns:
        HTML of the page.

    Raises:
        UserError: A folder is not a model folder, or an evaluation cannot be read.
    """
    folds = [read_fold(folder) for folder in find_folds(model_folder)]
    baselines = [read_fold(folder) for folder in find_folds(baseline_folder)] if baseline_folder else []
    first = folds[0]
    name = first.plans.get("dataset_name", first.folder.parent.parent.name)
    blocks: list[Block] = []
    for fold in folds:
        blocks += _fold_blocks(fold, single=len(folds) == 1)
    blocks += evaluation_section([load_summary(path) for path in evaluations], evaluations)
    pairs = [PairedFold(fold, baseline) for fold in folds if (baseline := _matching(fold, baselines))]
    given = [(load_summary(a), load_summary(b)) for a, b in zip(evaluations, baseline_evaluations, strict=False)]
    for pair in pairs:
        blocks += comparison_section(pair)
    if pairs:
        blocks += given_comparison_section(given)
    return render_page(
        f"{first.trainer} on {name}",
        code(first.folder.parent),
        answers(first, pairs, given),
        blocks,
        list(_links(folds, Path(page_folder))) if page_folder is not None else [],
    )


def _fold_blocks(fold: Fold, single: bool) -> list[Block]:
    blocks: list[Block] = [] if single else [Heading(1, fold.folder.name)]
    if fold.notes:
        blocks.append(Remarks(fold.notes))
    return [
        *blocks,
        *curves_section(fold),
        *overlay_section(fold),
        *validation_section(fold),
        *evaluation_section(list(fold.evaluations.values()), list(fold.evaluations)),
        *quality_section(fold),
        *groups_section(fold),
        *facts_section(fold),
    ]


def _matching(fold: Fold, baselines: Sequence[Fold]) -> Fold | None:
    """Find the baseline's fold of the same name, or its only one."""
    same = [baseline for baseline in baselines if baseline.folder.name == fold.folder.name]
    candidates = same or (baselines if len(baselines) == 1 else [])
    return candidates[0] if candidates else None


def _links(folds: Sequence[Fold], page_folder: Path) -> Iterator[Link]:
    """Link the files that a training has left, relative to the page, so that both can be moved together."""
    for fold in folds:
        for pattern in LINKED:
            for path in sorted(fold.folder.glob(pattern)):
                yield Link(path.relative_to(fold.folder.parent).as_posix(), _target(path, page_folder.resolve()))


def _target(path: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive of Windows
        return path.as_uri()

"""Datasets made from a draw's own: with predicted labels, with more cases annotated, or without unlabelled scans."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from beds import Case, raw_cases
from measuring import networks, segmenter
from preparing import link, plan_and_preprocess, write_cases
from run_queue import taking_turns
from runs import Run
from trainers import final_checkpoint, trained, training_dataset


def dataset_of(run: Run, work: Path) -> str:
    """Return the dataset that a run trains on, written and preprocessed if it is not the draw's own.

    Raises:
        SystemExit: A run of another length made the present one.
    """
    dataset = training_dataset(run)
    if dataset == run.dataset:
        return dataset
    with taking_turns(work, dataset):
        _write_unless_done(run, work, dataset)
    return dataset


def _write_unless_done(run: Run, work: Path, dataset: str) -> None:
    done = work / "preprocessed" / dataset / "prepared"
    maker = run.maker()
    made_by = maker.name if maker else ""
    if done.exists():
        before = done.read_text(encoding="utf-8")
        if before != made_by:
            raise SystemExit(
                f"{dataset} was made by {before or 'an unknown run'}, and {run.name} needs that of {made_by}. "
                "Choose another --work."
            )
        return
    raw = work / "raw" / dataset
    annotated = WRITERS[run.method_spec.dataset](run, work, raw)
    content = _dataset_json(work / "raw" / run.dataset)
    content["numTraining"] = len(list((raw / "labelsTr").iterdir()))
    content["crln"]["labelled_cases"] = [case.name for case in annotated]
    (raw / "dataset.json").write_text(json.dumps(content, indent=1))
    plan_and_preprocess(run, work, dataset, unlabelled=run.method_spec.dataset == "repeated")
    done.write_text(made_by, encoding="utf-8")


def _write_recipe(run: Run, work: Path, folder: Path) -> list[Case]:
    """Label the unlabelled cases with the predictions of the recipe's first training.

    Returns:
        The annotated cases, without those labelled by predictions.
    """
    import SimpleITK as sitk

    first = run.maker()
    trainer = trained(first, work)
    segment = segmenter(trainer, networks(trainer)["student"])
    labelled, unlabelled, ending = _cases(work / "raw" / run.dataset)
    write_cases(folder, "Tr", labelled, ending)
    for case in unlabelled:
        prediction = sitk.GetImageFromArray(segment(case.images).astype(np.uint8))
        prediction.CopyInformation(sitk.ReadImage(str(case.images[0])))
        sitk.WriteImage(prediction, str(folder / "labelsTr" / f"{case.name}{ending}"))
        for image in case.images:
            link(image, folder / "imagesTr" / image.name)
    return labelled


def _write_extended(run: Run, work: Path, folder: Path) -> list[Case]:
    """Annotate as many unlabelled cases as there are labelled ones, with their hidden labels.

    Returns:
        The annotated cases.
    """
    if run.judge == "dev":
        raise SystemExit(f"{run.method} annotates the cases that --judge dev measures on: choose --judge test.")
    labelled, unlabelled, ending = _cases(work / "raw" / run.dataset)
    names = sorted(case.name for case in unlabelled)
    order = (
        _ranked(run, work)
        if run.method_spec.dataset == "ranked"
        else np.random.default_rng(run.draw).permutation(names)
    )
    chosen = set(order[: len(labelled)])
    cases = labelled + [case for case in unlabelled if case.name in chosen]
    write_cases(folder, "Tr", cases, ending)
    return cases


def _write_repeated(run: Run, work: Path, folder: Path) -> list[Case]:
    """Take the labelled cases for the unlabelled ones as well, so that a method sees no other scans.

    Returns:
        The annotated cases.
    """
    labelled, _, ending = _cases(work / "raw" / run.dataset)
    write_cases(folder, "Tr", labelled, ending)
    write_cases(folder, "Ul", [replace(case, name=f"again_{case.name}") for case in labelled], ending)
    return labelled


def _ranked(run: Run, work: Path) -> list[str]:
    """Return the unlabelled cases in the order of nnUNetv2_crln_rank with the draw's CRLN model."""
    from nnunetv2_crln.annotation_loop.rank_unlabelled import rank_unlabelled
    from nnunetv2_crln.annotation_loop.volume_predictor import ModelChoice

    model = final_checkpoint(run.maker(), work).parents[1]
    choice = ModelChoice(model, ("all",), device=run.device, mirroring=False)
    return [place.case for place in rank_unlabelled(choice, work / "rankings" / f"{run.name}.csv", show_progress=False)]


def _cases(folder: Path) -> tuple[list[Case], list[Case], str]:
    ending = _dataset_json(folder)["file_ending"]
    return raw_cases(folder, "Tr", ending), raw_cases(folder, "Ul", ending), ending


def _dataset_json(folder: Path) -> dict:
    return json.loads((folder / "dataset.json").read_text(encoding="utf-8"))


WRITERS = {"recipe": _write_recipe, "random": _write_extended, "ranked": _write_extended, "repeated": _write_repeated}

"""Write the datasets of the draws, plan and preprocess them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from beds import Bed, Case, Plan, Roles, Source, draw
from run_queue import taking_turns
from runs import Run

from nnunetv2_crln.layout import dataset_number

PLANS = "nnUNetPlans_benchmark"


def prepare(run: Run, data: Path, work: Path) -> None:
    """Make the dataset of a run's draw, unless it is there."""
    with taking_turns(work, run.dataset):
        done = work / "preprocessed" / run.dataset / "prepared"
        if not done.exists():
            _prepare(run, data, work)
            done.touch()


def _prepare(run: Run, data: Path, work: Path) -> None:
    bed = run.bed_spec
    source = bed.read(data)
    roles = draw(bed, source.cases, run.labelled, run.draw)
    raw = work / "raw" / run.dataset
    write_raw_dataset(raw, source, roles)
    if bed.keep:
        ignore_most_voxels(raw, bed.keep, run.draw)
    if run.plan == "article":
        _prepare_article(run, work)
    else:
        plan_and_preprocess(run, work, run.dataset)
    print(f"{run.dataset}: {len(roles.labelled)} labelled, {len(roles.unlabelled)} unlabelled, {len(roles.test)} test")


def write_raw_dataset(folder: Path, source: Source, roles: Roles) -> None:
    """Write imagesTr, labelsTr, imagesUl, labelsUl, and the held-out cases in imagesHeldOut and labelsHeldOut."""
    for part, cases in (("Tr", roles.labelled), ("Ul", roles.unlabelled), ("HeldOut", roles.test)):
        write_cases(folder, part, cases, source.dataset_json["file_ending"])
    content = dict(source.dataset_json, numTraining=len(roles.labelled))
    content["crln"] = {"labelled_cases": [case.name for case in roles.labelled]}
    (folder / "dataset.json").write_text(json.dumps(content, indent=1))


def ignore_most_voxels(folder: Path, keep: str, seed: int) -> None:
    """Make the labels of labelled cases sparse, and tell nnU-Net of the ignore label."""
    import SimpleITK as sitk
    from sparse_labels import make_sparse

    content = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    ignore = max(content["labels"].values()) + 1
    rng = np.random.default_rng(seed)
    for file in sorted((folder / "labelsTr").iterdir()):
        sitk.WriteImage(make_sparse(sitk.ReadImage(str(file)), keep, ignore, rng), str(file))
    content["labels"]["ignore"] = ignore
    (folder / "dataset.json").write_text(json.dumps(content, indent=1))


def write_cases(folder: Path, part: str, cases: Iterable[Case], ending: str) -> None:
    """Link images and write labels as integers; the Decathlon stores some as floats."""
    import SimpleITK as sitk

    (folder / f"labels{part}").mkdir(parents=True, exist_ok=True)
    for case in cases:
        for channel, image in enumerate(case.images):
            link(image, folder / f"images{part}" / f"{case.name}_{channel:04d}{ending}")
        label = sitk.Cast(sitk.ReadImage(str(case.label)), sitk.sitkUInt8)
        sitk.WriteImage(label, str(folder / f"labels{part}" / f"{case.name}{ending}"))


def link(source: Path, target: Path) -> None:
    """Let ``target`` point to a file, whatever stood there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    target.symlink_to(source.resolve())


def plan_and_preprocess(run: Run, work: Path, dataset: str, unlabelled: bool = True) -> None:
    """Let nnU-Net plan, reduce its plan as the run says, and preprocess."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints, plan_experiments

    os.environ["nnUNet_n_proc_DA"] = "1"  # nnU-Net's planner needs one process; a training may have set none
    number = int(dataset_number(dataset))
    extract_fingerprints([number], num_processes=1, clean=True, verbose=False)
    plan_experiments([number])
    folder = work / "preprocessed" / dataset
    plans = json.loads((folder / "nnUNetPlans.json").read_text(encoding="utf-8"))
    plans["plans_name"] = PLANS
    if run.plan != "nnunet":
        reduce_configuration(plans["configurations"][run.configuration], run.bed_spec, run.plan)
    _write_and_preprocess(plans, run, work, dataset, unlabelled)


def _write_and_preprocess(plans: dict, run: Run, work: Path, dataset: str, unlabelled: bool) -> None:
    from nnunetv2.experiment_planning.plan_and_preprocess_api import preprocess
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    from nnunetv2_crln.plan_and_preprocess.unlabelled_cases import preprocess_unlabelled

    folder = work / "preprocessed" / dataset
    file = folder / f"{PLANS}.json"
    file.write_text(json.dumps(plans, indent=1))
    preprocess([int(dataset_number(dataset))], PLANS, [run.configuration], [1], show_progress_bar=False)
    if unlabelled:
        manager = PlansManager(str(file))
        preprocess_unlabelled(work / "raw" / dataset, folder, manager, run.configuration, 1, show_progress=False)


def reduce_configuration(configuration: dict, bed: Bed, plan: str) -> None:
    """Change nnU-Net's configuration into the bed's plan for a CPU."""
    reduced: Plan = bed.plans[plan]
    stages, axes = len(reduced.features), len(reduced.patch_size)
    configuration["patch_size"] = list(reduced.patch_size)
    configuration["batch_size"] = reduced.batch_size
    configuration["spacing"] = [side * reduced.scale for side in configuration["spacing"]]
    configuration["data_identifier"] = f"{PLANS}_{bed.configuration}"
    network = configuration["architecture"]["arch_kwargs"]
    network["n_stages"] = stages
    network["features_per_stage"] = list(reduced.features)
    network["kernel_sizes"] = [[3] * axes] * stages
    network["strides"] = [[1] * axes] + [[2] * axes] * (stages - 1)
    network["n_conv_per_stage"] = [1] * stages
    network["n_conv_per_stage_decoder"] = [1] * (stages - 1)


# ---------------------------------------------------------------------------- the paper's protocol


def _prepare_article(run: Run, work: Path) -> None:
    from nnunetv2_crln.cli.plan_and_preprocess import command

    number = int(dataset_number(run.dataset))
    shared = f"-d {number} -c {run.configuration} -npfp 1 -np 1 --no_pbar"
    protocol = f"--article {run.bed_spec.article} --num_labelled {run.labelled} --no_pp"
    command([*shared.split(), *protocol.split()])
    folder = work / "preprocessed" / run.dataset
    plans = json.loads((folder / "nnUNetPlans.json").read_text(encoding="utf-8"))
    plans["plans_name"] = PLANS
    if run.scale > 1:
        configurations = plans["configurations"]
        enlarge_voxels(configurations[run.configuration], configurations["3d_fullres"], run.scale)
    _write_and_preprocess(plans, run, work, run.dataset, unlabelled=True)


def enlarge_voxels(configuration: dict, parent: dict, scale: int) -> None:
    """Take larger voxels, a smaller patch, and a network that halves it less often."""
    configuration["spacing"] = [side * scale for side in configuration.get("spacing", parent["spacing"])]
    configuration["data_identifier"] = f"{PLANS}_3d_article"
    configuration["patch_size"] = [size // scale for size in configuration["patch_size"]]
    network = configuration["architecture"]["arch_kwargs"]
    drop = int(np.log2(scale))
    for key in ("features_per_stage", "n_conv_per_stage", "strides"):
        network[key] = network[key][:-drop]
    network["n_conv_per_stage_decoder"] = network["n_conv_per_stage_decoder"][drop:]


def narrow(network: dict, features: int) -> None:
    """Give the protocol's network fewer channels and no dropout: half of eight channels would be too few."""
    network["features_per_stage"] = [features * 2**stage for stage in range(len(network["features_per_stage"]))]
    network["dropout"] = 0.0

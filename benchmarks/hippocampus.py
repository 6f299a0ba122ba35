"""Does the unlabelled data help? Methods x labelled counts x seeds on MSD Hippocampus, inside nnU-Net.

    python benchmarks/hippocampus.py prepare --data Task04_Hippocampus --work WORK
    python benchmarks/hippocampus.py run     --work WORK --jobs 2
    python benchmarks/hippocampus.py table   --work WORK

``prepare`` takes half a minute a dataset; ``run`` is a queue that may be stopped and started again, on several
terminals at once; a finished run is never repeated. With the defaults (1,000 iterations, a small plan) a run takes 2 to
6 minutes on one CPU thread. ``--device cuda --plan nnunet`` uses nnU-Net's own plan instead.

60 of the 200 labelled cases are held out by a fixed list and never seen before the final checkpoint is measured. The
other 140 are the pool: N labelled ones, chosen by the seed, and the rest without labels. All methods of one seed share
the labelled cases, the initial weights and the number of iterations.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import oracle
from runs import Run, environment, link, networks, parse_override, run_queue, segmenter, set_paths, write_result

METHODS = {
    "supervised": "nnUNetTrainer_short",
    "recipe": "nnUNetTrainer_short",  # train, predict imagesUl, train again on both
    "mean_teacher": "nnUNetTrainer_MeanTeacher_short",
    "oracle": "nnUNetTrainer_Oracle_short",  # hidden labels as pseudo labels: an upper bound
    "crln_no_cps": "nnUNetTrainer_CRLN_noCPS_short",
    "crln": "nnUNetTrainer_CRLN_short",
}
COUNTS = (4, 8)
SEEDS = (0, 1, 2)
CONFIGURATION = "3d_fullres"
PLANS = "nnUNetPlans_benchmark"
# Plans that a CPU trains in minutes. "nnunet" is nnU-Net's own.
REDUCED_PLANS = {
    "small": {"patch_size": [32, 48, 32], "features": [8, 16, 32, 64], "batch_size": 2},
    # As wide as a CPU allows: most of the time goes to the full resolution, so that it alone stays narrow.
    "wide": {"patch_size": [32, 48, 32], "features": [8, 32, 64, 128], "batch_size": 2},
}
ITERATIONS_PER_EPOCH = 50
# In names of runs, which are names of folders too. What changes no training is left out.
SHORT_NAMES = {
    "pseudo_label_loss": "loss",
    "confidence_threshold": "tau",
    "copy_paste_probability": "paste",
    "rectification": "rect",
    "disagreement_weight": "differ",
    "cps_balance": "balance",
}
UNNAMED = {"monitor_every", "monitor_cases", "overlay_every", "quality_cases", "gradient_norm_every"}
LEARNING_RATE = 0.1
RESULTS = Path(__file__).parent / "results" / "hippocampus"


def held_out(cases: list[str]) -> set[str]:
    """Choose the 60 test cases: every third of the sorted list, up to 60; fixed before the first run."""
    return set(sorted(cases)[::3][:60])


def dataset_id(labelled: int, seed: int, recipe: bool = False) -> int:
    return (900 if recipe else 700) + 10 * labelled + seed


def dataset_name(labelled: int, seed: int, recipe: bool = False) -> str:
    return f"Dataset{dataset_id(labelled, seed, recipe):03d}_Hippocampus{labelled}labelled"


# ---------------------------------------------------------------------------- data


def read_label(path: Path):
    """MSD stores some labels as floats; nnU-Net wants integers."""
    import SimpleITK as sitk

    return sitk.Cast(sitk.ReadImage(str(path)), sitk.sitkUInt8)


def write_raw_dataset(data: Path, raw: Path, labelled: int, seed: int) -> Path:
    """imagesTr, labelsTr, imagesUl and labelsUl of one (count, seed); the held-out cases are in none of them."""
    import SimpleITK as sitk

    cases = sorted(p.name[: -len(".nii.gz")] for p in (data / "labelsTr").glob("hippocampus*.nii.gz"))
    pool = sorted(set(cases) - held_out(cases))
    chosen = set(np.random.default_rng(seed).choice(pool, labelled, replace=False).tolist())
    folder = raw / dataset_name(labelled, seed)
    for case in pool:
        split = "Tr" if case in chosen else "Ul"
        image = folder / f"images{split}" / f"{case}_0000.nii.gz"
        label = folder / f"labels{split}" / f"{case}.nii.gz"
        label.parent.mkdir(parents=True, exist_ok=True)
        link(data / "imagesTr" / f"{case}.nii.gz", image)
        sitk.WriteImage(read_label(data / "labelsTr" / f"{case}.nii.gz"), str(label))
    source = json.loads((data / "dataset.json").read_text(encoding="utf-8"))
    dataset_json = {
        "channel_names": {"0": "MRI"},
        "labels": {name: int(value) for value, name in source["labels"].items()},
        "numTraining": labelled,
        "file_ending": ".nii.gz",
        "crln": {"labelled_cases": sorted(chosen), "seed": seed},
    }
    (folder / "dataset.json").write_text(json.dumps(dataset_json, indent=1))
    return folder


def write_plan(folder: Path, plan: str) -> None:
    """nnU-Net's plan under another name, reduced to what a CPU trains in minutes."""
    plans = json.loads((folder / "nnUNetPlans.json").read_text(encoding="utf-8"))
    plans["plans_name"] = PLANS
    configuration = plans["configurations"][CONFIGURATION]
    if plan in REDUCED_PLANS:
        reduced = REDUCED_PLANS[plan]
        configuration["patch_size"] = reduced["patch_size"]
        configuration["batch_size"] = reduced["batch_size"]
        kwargs = configuration["architecture"]["arch_kwargs"]
        stages = len(reduced["features"])
        kwargs["n_stages"] = stages
        kwargs["features_per_stage"] = reduced["features"]
        kwargs["kernel_sizes"] = [[3, 3, 3]] * stages
        kwargs["strides"] = [[1, 1, 1]] + [[2, 2, 2]] * (stages - 1)
        kwargs["n_conv_per_stage"] = [1] * stages
        kwargs["n_conv_per_stage_decoder"] = [1] * (stages - 1)
    (folder / f"{PLANS}.json").write_text(json.dumps(plans, indent=1))


def plan_and_preprocess(work: Path, name: str, unlabelled: bool, plan: str, processes: int) -> None:
    from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints, plan_experiments, preprocess
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    from nnunetv2_crln.plan_and_preprocess.unlabelled_cases import preprocess_unlabelled

    number = int(name[7:10])
    extract_fingerprints([number], num_processes=processes, clean=True, verbose=False)
    plan_experiments([number])
    folder = work / "preprocessed" / name
    write_plan(folder, plan)
    preprocess([number], PLANS, [CONFIGURATION], [processes])
    if unlabelled:
        plans = PlansManager(str(folder / f"{PLANS}.json"))
        preprocess_unlabelled(work / "raw" / name, folder, plans, CONFIGURATION, processes)


def prepare(args: argparse.Namespace) -> None:
    for labelled in args.counts:
        for seed in args.seeds:
            name = dataset_name(labelled, seed)
            if (args.work / "preprocessed" / name / f"{PLANS}.json").exists():
                continue
            write_raw_dataset(args.data, args.work / "raw", labelled, seed)
            plan_and_preprocess(args.work, name, True, args.plan, 2)
    cases = sorted(p.name[: -len(".nii.gz")] for p in (args.data / "labelsTr").glob("hippocampus*.nii.gz"))
    for case in sorted(held_out(cases)):
        for kind, source in (("image", "imagesTr"), ("label", "labelsTr")):
            link(args.data / source / f"{case}.nii.gz", args.work / "test" / f"{case}_{kind}.nii.gz")


def write_recipe_dataset(work: Path, labelled: int, seed: int, predictor) -> None:
    """Step two of the usual recipe: the supervised model's predictions of imagesUl become labels."""
    import SimpleITK as sitk

    source = work / "raw" / dataset_name(labelled, seed)
    folder = work / "raw" / dataset_name(labelled, seed, recipe=True)
    for image in (source / "imagesTr").iterdir():
        link(image, folder / "imagesTr" / image.name)
    for label in (source / "labelsTr").iterdir():
        link(label, folder / "labelsTr" / label.name)
    for image in (source / "imagesUl").iterdir():
        link(image, folder / "imagesTr" / image.name)
        segmentation = sitk.GetImageFromArray(predictor(image).astype(np.uint8))
        segmentation.CopyInformation(sitk.ReadImage(str(image)))
        sitk.WriteImage(segmentation, str(folder / "labelsTr" / image.name.replace("_0000", "")))
    dataset_json = json.loads((source / "dataset.json").read_text(encoding="utf-8"))
    dataset_json["numTraining"] = len(list((folder / "imagesTr").iterdir()))
    (folder / "dataset.json").write_text(json.dumps(dataset_json, indent=1))


# ---------------------------------------------------------------------------- one run


def build_trainer(args: argparse.Namespace, method: str, labelled: int, seed: int, name: str, batch_factor: int = 1):
    import torch

    from nnunetv2_crln.nnunet_trainers import nnunetv2_crln_trainers as trainers

    folder = args.work / "preprocessed" / name
    plans = json.loads((folder / f"{PLANS}.json").read_text(encoding="utf-8"))
    configuration = plans["configurations"][CONFIGURATION]
    configuration["batch_size"] *= batch_factor
    configuration["short_schedule"] = {
        "num_epochs": args.iterations // ITERATIONS_PER_EPOCH,
        "num_iterations_per_epoch": ITERATIONS_PER_EPOCH,
        "num_val_iterations_per_epoch": 1,
        "initial_lr": args.learning_rate,
        "seed": seed,
    }
    configuration["crln"] = {"seed": seed, "save_every": 10, **dict(args.override)}
    plans["plans_name"] = f"{PLANS}_{run_name(args, method, labelled, seed)}"
    plans["continue_training"] = False
    dataset_json = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    trainer_class = getattr(oracle if method == "oracle" else trainers, METHODS[method])
    trainer = trainer_class(plans, CONFIGURATION, "all", dataset_json, torch.device(args.device))
    latest = Path(trainer.output_folder) / "checkpoint_latest.pth"
    if latest.exists():
        trainer.load_checkpoint(str(latest))
    elif args.warm_start:
        start_from_supervised(trainer, args, labelled, seed)
    return trainer


def start_from_supervised(trainer, args: argparse.Namespace, labelled: int, seed: int) -> None:
    """Give a new training the weights of the supervised one that ran ``--warm_start`` iterations."""
    import torch

    from nnunetv2_crln.training.method import unwrap

    folder = Path(trainer.output_folder_base).parent
    name = run_name(warm_start_arguments(args), "supervised", labelled, seed)
    checkpoint = folder / f"{METHODS['supervised']}__{PLANS}_{name}__{CONFIGURATION}" / "fold_all/checkpoint_final.pth"
    weights = torch.load(checkpoint, weights_only=False, map_location=trainer.device)["network_weights"]
    trainer.initialize()
    unwrap(trainer.network).load_state_dict(weights)


def warm_start_arguments(args: argparse.Namespace) -> argparse.Namespace:
    """Of the supervised training that the others start from: nothing but its length may differ between them."""
    changes = {"iterations": args.warm_start, "warm_start": 0, "override": [], "learning_rate": LEARNING_RATE}
    return argparse.Namespace(**{**vars(args), **changes})


def judged_cases(args: argparse.Namespace, labelled: int, seed: int) -> list[tuple[str, Path, Path]]:
    """Case, image and label of what a run is measured on.

    ``test``: the held-out cases. ``dev``: 30 unlabelled cases with their hidden labels, for choosing settings; the test
    cases stay untouched by any choice.
    """
    if args.judge == "dev":
        raw = args.work / "raw" / dataset_name(labelled, seed)
        labels = sorted((raw / "labelsUl").iterdir())[::4][:30]
        return [(p.name[:-7], raw / "imagesUl" / p.name.replace(".nii.gz", "_0000.nii.gz"), p) for p in labels]
    images = sorted((args.work / "test").glob("*_image.nii.gz"))
    return [(p.name[:-13], p, p.with_name(p.name.replace("_image", "_label"))) for p in images]


def measure(segment, cases: list[tuple[str, Path, Path]], labels: dict[str, int]) -> dict:
    import SimpleITK as sitk

    from nnunetv2_crln.evaluation.metrics import mask_metrics

    found: dict[str, dict] = {}
    for case, image, label_file in cases:
        label = read_label(label_file)
        reference, spacing = sitk.GetArrayFromImage(label), tuple(reversed(label.GetSpacing()))
        prediction = segment(image)
        found[case] = {}
        for name, value in labels.items():
            if value:
                metrics = mask_metrics(prediction == value, reference == value, spacing)
                found[case][name] = {key: metrics[key] for key in ("Dice", "HD95_mm", "ASSD_mm")}
    return found


def run_name(args: argparse.Namespace, method: str, labelled: int, seed: int) -> str:
    changed = "".join(f"__{SHORT_NAMES.get(key, key)}={value}" for key, value in args.override if key not in UNNAMED)
    if args.learning_rate != LEARNING_RATE:
        changed += f"__lr={args.learning_rate:g}"
    if args.warm_start:
        changed += f"__after{args.warm_start}supervised"
    judge = "__dev" if args.judge == "dev" else ""
    return f"{method}__{labelled}labelled__seed{seed}__{args.iterations}it{changed}{judge}"


def result_file(args: argparse.Namespace, method: str, labelled: int, seed: int) -> Path:
    return args.results / f"{run_name(args, method, labelled, seed)}.json"


def last_epoch(trainer) -> dict[str, float]:
    """Last finite value of each curve of the training; the curves themselves stay in its checkpoint."""
    found = {}
    for key, logged in trainer.logger.get_checkpoint().items():
        finite = [value for value in logged if isinstance(value, float) and np.isfinite(value)]
        if finite and not key.startswith("epoch_"):
            found[key] = round(finite[-1], 4)
    return found


def predict(args: argparse.Namespace) -> None:
    """Write the trained network's labels of the images in ``--images`` as one tar.xz of NIfTI files."""
    import tarfile
    import tempfile

    import SimpleITK as sitk

    method, labelled, seed = args.methods[0], args.counts[0], args.seeds[0]
    trainer = build_trainer(args, method, labelled, seed, dataset_name(labelled, seed))
    trainer.load_checkpoint(str(Path(trainer.output_folder) / "checkpoint_final.pth"))
    segment = segmenter(trainer, next(iter(networks(trainer).values())))
    args.predictions.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(args.predictions, "w:xz") as archive, tempfile.TemporaryDirectory() as folder:
        for image in sorted(args.images.glob("[!.]*.nii.gz")):
            labels = sitk.GetImageFromArray(segment(image).astype(np.uint8))
            labels.CopyInformation(sitk.ReadImage(str(image)))
            file = Path(folder) / image.name
            sitk.WriteImage(labels, str(file))
            archive.add(file, arcname=f"{method}/{image.name}")


def run_one(args: argparse.Namespace, method: str, labelled: int, seed: int) -> None:
    import torch

    torch.set_num_threads(1)
    name = dataset_name(labelled, seed)
    begin = time.time()
    if method == "recipe":
        first = build_trainer(args, "supervised", labelled, seed, name)
        first.load_checkpoint(str(Path(first.output_folder) / "checkpoint_final.pth"))
        write_recipe_dataset(args.work, labelled, seed, segmenter(first, networks(first)["student"]))
        name = dataset_name(labelled, seed, recipe=True)
        plan_and_preprocess(args.work, name, False, args.plan, 1)
    # The recipe sees as many patches a step as the semi-supervised methods: both halves of the batch are labelled.
    # Patches are made in the training process: two runs side by side fill two cores. (nnU-Net's planner needs >= 1.)
    os.environ["nnUNet_n_proc_DA"] = "0"
    trainer = build_trainer(args, method, labelled, seed, name, batch_factor=2 if method == "recipe" else 1)
    trainer.run_training()
    seconds = time.time() - begin
    labels = trainer.dataset_json["labels"]
    result = {
        "method": method,
        "labelled": labelled,
        "seed": seed,
        "iterations": args.iterations,
        "learning_rate": args.learning_rate,
        "warm_start": args.warm_start,
        "override": dict(args.override),
        # The override is relative to the defaults of its day; these are the settings that were used.
        "settings": dataclasses.asdict(trainer.settings) if hasattr(trainer, "settings") else {},
        "plan": args.plan,
        "labelled_cases": trainer.dataset_json["crln"]["labelled_cases"],
        "seconds": round(seconds),
        "last_epoch": last_epoch(trainer),
        "test": {
            network: measure(segmenter(trainer, module), judged_cases(args, labelled, seed), labels)
            for network, module in networks(trainer).items()
        },
        "environment": environment(),
    }
    write_result(result, result_file(args, method, labelled, seed))


# ---------------------------------------------------------------------------- queue and table


def run(args: argparse.Namespace) -> None:
    """Start each missing run in its own process; a lock file keeps several queues apart."""
    entries = [(m, n, s) for s in args.seeds for n in args.counts for m in args.methods]
    run_queue([_queued(args, *entry) for entry in entries], args.work, args.jobs)


def _queued(args: argparse.Namespace, method: str, labelled: int, seed: int) -> Run:
    command = [sys.executable, __file__, "one", "--work", str(args.work), "--results", str(args.results)]
    command += ["--methods", method, "--counts", str(labelled), "--seeds", str(seed)]
    command += ["--judge", args.judge, "--iterations", str(args.iterations)]
    command += ["--warm_start", str(args.warm_start)]
    command += ["--learning_rate", str(args.learning_rate), "--device", args.device, "--plan", args.plan]
    for key, value in args.override:
        command += ["--override", f"{key}={json.dumps(value)}"]
    return Run(
        run_name(args, method, labelled, seed),
        result_file(args, method, labelled, seed),
        command,
        _needed(args, method, labelled, seed),
    )


def _needed(args: argparse.Namespace, method: str, labelled: int, seed: int) -> Run | None:
    if args.warm_start:
        return _queued(warm_start_arguments(args), "supervised", labelled, seed)
    return _queued(args, "supervised", labelled, seed) if method == "recipe" else None


def one(args: argparse.Namespace) -> None:
    run_one(args, args.methods[0], args.counts[0], args.seeds[0])


def values(result: dict, network: str, metric: str) -> np.ndarray:
    """(cases, classes)."""
    cases = result["test"][network]
    return np.array(
        [[v if v is not None else np.nan for v in (c[k][metric] for k in sorted(c))] for _, c in sorted(cases.items())],
        float,
    )


def table(args: argparse.Namespace) -> None:
    """Markdown: one row per count, method and network; mean over seeds, each seed, classes, paired differences."""
    results = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(args.results.glob("*.json"))]
    results = [r for r in results if r["iterations"] == args.iterations]
    groups: dict[tuple, list[dict]] = {}
    for r in results:
        key = (r["labelled"], r["learning_rate"], r["method"], json.dumps(r["override"], sort_keys=True))
        groups.setdefault(key, []).append(r)
    classes = sorted(next(iter(results[0]["test"]["student"].values()))) if results else []
    head = [
        "labelled",
        "method",
        "network",
        "Dice % ± sd",
        "each seed",
        *classes,
        "95HD mm",
        "Δ supervised",
        "Δ mean teacher",
    ]
    print(f"| {' | '.join(head)} |")
    print("|---" * len(head) + "|")
    order = list(METHODS)
    for key in sorted(groups, key=lambda k: (k[0], k[1], order.index(k[2]), k[3])):
        labelled, rate, method, override = key
        runs = sorted(groups[key], key=lambda r: r["seed"])
        label = method if override == "{}" else f"{method} {override}"
        if rate != LEARNING_RATE:
            label += f", learning rate {rate:g}"
        for network in runs[0]["test"]:
            by_class = 100 * np.array([np.nanmean(values(r, network, "Dice"), 0) for r in runs])
            dice = by_class.mean(1)
            distance = np.mean([np.nanmean(values(r, network, "HD95_mm")) for r in runs])
            spread = f" ± {dice.std(ddof=1):.2f}" if len(dice) > 1 else ""
            seeds = " / ".join(f"{r['seed']}: {d:.1f}" for r, d in zip(runs, dice, strict=True))
            cells = [str(labelled), label, network, f"{dice.mean():.2f}{spread}", seeds]
            cells += [f"{d:.1f}" for d in by_class.mean(0)] + [f"{distance:.2f}"]
            for other, its_network in (("supervised", "student"), ("mean_teacher", "teacher")):
                base = groups.get((labelled, rate, other, "{}"), [])
                itself = method == other and network == its_network
                cells.append("" if itself else difference(runs, network, base, its_network))
            print(f"| {' | '.join(cells)} |")


def difference(runs: list[dict], network: str, base: list[dict], base_network: str) -> str:
    """Dice points over the test cases of all seeds that both have: paired bootstrap, 95 %."""
    from nnunetv2_crln.evaluation.comparison import paired_difference

    by_seed = {r["seed"]: r for r in base}
    shared = [r for r in runs if r["seed"] in by_seed]
    if not shared:
        return ""
    d = paired_difference(
        np.concatenate([values(r, network, "Dice") for r in shared]),
        np.concatenate([values(by_seed[r["seed"]], base_network, "Dice") for r in shared]),
    )
    return f"{100 * d['difference']:+.2f} [{100 * d['ci_low']:+.2f}, {100 * d['ci_high']:+.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["prepare", "run", "one", "table", "predict"])
    parser.add_argument("--data", type=Path, help="Task04_Hippocampus in the Decathlon's layout")
    parser.add_argument("--images", type=Path, help="predict: folder of images")
    parser.add_argument("--predictions", type=Path, help="predict: tar.xz to write")
    parser.add_argument("--work", type=Path, required=True, help="folder for datasets, models and logs")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--counts", nargs="+", type=int, default=list(COUNTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS))
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--warm_start", type=int, default=0, help="start from a supervised training of this length")
    parser.add_argument("--learning_rate", type=float, default=LEARNING_RATE)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--judge", choices=["test", "dev"], default="test", help="dev: for choosing settings")
    parser.add_argument("--plan", choices=[*REDUCED_PLANS, "nnunet"], default="small")
    parser.add_argument(
        "--override", type=parse_override, action="append", default=[], help="a crln setting, e.g. cps_weight=1"
    )
    args = parser.parse_args()
    if args.command == "prepare" and args.data is None:
        parser.error("prepare needs --data, the folder Task04_Hippocampus")
    args.work = args.work.resolve()
    args.work.mkdir(parents=True, exist_ok=True)
    set_paths(args.work)
    {"prepare": prepare, "run": run, "one": one, "table": table, "predict": predict}[args.command](args)


if __name__ == "__main__":
    main()

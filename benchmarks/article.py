"""The article's experiments and ablations: published numbers beside ours.

    python benchmarks/article.py prepare --raw nnUNet_raw/Dataset101_LeftAtrium --work WORK
    python benchmarks/article.py run     --work WORK --device cuda
    python benchmarks/article.py table   --work WORK
    python benchmarks/article.py curves  --work WORK
    python benchmarks/article.py predict --work WORK --method crln --images imagesTs -o predictions.tar.gz

``prepare`` takes a dataset that one of the scripts in dataset_conversion/ has made, labels of the unlabelled cases
included (they are used to judge alone). ``run`` is a queue that may be stopped and started again, on several terminals
at once; a finished run is never repeated. Every run is judged at its final checkpoint, on the test cases (imagesTs,
labelsTs). With ``--fold K`` it is judged on 20 of the training cases instead, which are then in no part of the
training: fold 0 trains on the article's own labelled cases, the others draw theirs. ``--scale 2`` halves the
resolution, ``--features 8`` narrows the networks, ``--iterations`` shortens the training: with all three a CPU does it.

``curves`` shows how the pseudo labels of a few fixed unlabelled cases develop (Fig. 1), and mu (Fig. 11).

Two networks: ``article`` is the protocol's (V-Net or 3D U-Net) under the article's augmentation and optimiser;
``nnunet`` is nnU-Net's own under nnU-Net's augmentation, with our default settings.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import resource
import sys
import tarfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from runs import Run, environment, link, networks, parse_override, run_queue, segmenter, set_paths, write_result

RESULTS = Path(__file__).parent / "results" / "article"
METRICS = ("Dice", "Jaccard", "ASD_voxel", "HD95_voxel")
HELD_OUT = 20
ITERATIONS = 40_000
LABELLED_OF_ARTICLE = {"left_atrium": 8, "pancreas_ct": 6, "brats19": 25}  # of its ablations and tables


@dataclass(frozen=True)
class Method:
    """One training.

    Attributes:
        label: In tables.
        trainer: ``supervised``, ``mean_teacher``, ``crln_no_cps`` or ``crln``.
        settings: Of the "crln" block, over the protocol's. ``rectification_share`` becomes ``rectification_start``.
    """

    label: str
    trainer: str
    settings: dict[str, Any] = field(default_factory=dict)


LINEAR = {"aggregation": "linear"}  # Table 6 switches parts of it
METHODS = {
    "supervised": Method("labelled cases alone", "supervised"),
    "baseline": Method(
        "mean teacher, views alike", "mean_teacher", {"cutmix_probability": 0, "strong_intensity": "none"}
    ),
    "mean_teacher": Method("+ CutMix and noise", "mean_teacher"),
    "crln_no_cps": Method("+ CRLN and DIM", "crln_no_cps"),
    "cps_mean": Method("+ CPS, class means alone", "crln", {"cps_positive": "mean"}),
    "cps_prototype": Method("+ CPS, prototypes alone", "crln", {"cps_positive": "prototype"}),
    "crln": Method("CRLN, whole", "crln"),
    "sum": Method("mean of the maps", "crln", LINEAR | {"spatial_awareness": False, "integration": False}),
    "sa": Method("+ spatial awareness", "crln", LINEAR | {"integration": False}),
    "sa_ci": Method("+ convolutional integration", "crln", LINEAR | {"shared_classes": False}),
    "sa_ci_cr": Method("+ cross-class reasoning", "crln", LINEAR),
    "fixed": Method("r-fixed-v1", "crln", {"rectification": "fixed"}),
    "concat": Method("r-learnable-v2", "crln", {"rectification": "concat"}),
    "our_settings": Method("CRLN, our default settings", "crln", {"strong_intensity": "noise"}),
    **{f"prototypes_{r}": Method(f"R = {r}", "crln", {"num_prototypes": r}) for r in (1, 2, 4, 8, 16, 32)},
    **{
        f"start_{start}": Method(f"start at {start} of 40,000", "crln", {"rectification_share": start / ITERATIONS})
        for start in (0, 400, 800, 1200, 1600, 2000)
    },
    **{f"xi_{xi}": Method(f"xi = {xi}", "crln", {"prototype_weight": xi}) for xi in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)},
}
DEFAULTS = "our_settings"  # does not start from the protocol's block

EXPERIMENTS = {
    "main": ("Methods", ("supervised", "mean_teacher", "crln", "our_settings")),
    "table5": ("Table 5", ("baseline", "mean_teacher", "crln_no_cps", "cps_mean", "cps_prototype", "crln")),
    "table6": ("Table 6 (linear aggregation)", ("sum", "sa", "sa_ci", "sa_ci_cr")),
    "table7": ("Table 7", ("fixed", "concat", "crln")),
    "fig10": ("Fig. 10, prototypes", tuple(f"prototypes_{r}" for r in (1, 2, 4, 8, 16, 32))),
    "fig12": ("Fig. 12, start of rectification", tuple(f"start_{s}" for s in (0, 400, 800, 1200, 1600, 2000))),
    "fig13": ("Fig. 13, xi", tuple(f"xi_{x}" for x in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0))),
}

# Dice %, Jaccard %, ASD voxel, 95HD voxel with their bootstrap standard deviations; final checkpoint, test cases.
PUBLISHED = {
    ("left_atrium", 8): {
        "baseline": "84.19±0.10, 72.97±0.59, 3.95±0.61, 13.12±2.58",
        "mean_teacher": "88.67±1.04, 79.90±1.59, 2.98±0.60, 10.97±3.14",
        "crln_no_cps": "89.87±0.75, 81.73±1.20, 2.12±0.28, 6.64±0.97",
        "cps_mean": "91.63±0.37, 84.59±0.63, 1.49±0.09, 4.77±0.32",
        "cps_prototype": "91.53±0.31, 84.42±0.52, 1.55±0.09, 4.70±0.28",
        "crln": "91.74±0.38, 84.79±0.64, 1.46±0.09, 4.60±0.33",
        "sum": "90.22±0.90, 82.42±1.33, 1.58±0.11, 6.06±0.77",
        "sa": "90.89±0.54, 83.40±0.88, 1.55±0.12, 5.44±0.43",
        "sa_ci": "91.04±0.40, 83.61±0.67, 1.46±0.09, 5.26±0.38",
        "sa_ci_cr": "91.74±0.38, 84.79±0.64, 1.46±0.09, 4.60±0.33",
        "fixed": "91.14±0.43, 83.79±0.71, 1.56±0.09, 5.07±0.38",
        "concat": "90.69±0.64, 83.09±1.01, 1.66±0.13, 5.58±0.45",
    },
    ("left_atrium", 16): {"crln": "91.88±0.43, 85.05±0.72, 1.46±0.08, 4.51±0.32"},
    ("pancreas_ct", 6): {
        "baseline": "56.14±3.67, 41.04±3.57, 7.42±1.06, 21.99±3.10",
        "mean_teacher": "76.73±2.12, 63.28±2.59, 2.59±0.70, 9.89±2.52",
        "crln_no_cps": "78.58±1.47, 65.27±1.97, 3.19±0.66, 9.83±2.46",
        "cps_mean": "74.68±2.42, 60.75±2.84, 1.94±0.26, 8.56±1.17",
        "cps_prototype": "73.90±1.82, 59.31±2.24, 2.00±0.29, 9.67±1.26",
        "crln": "79.17±1.82, 66.32±2.33, 1.94±0.52, 7.27±1.12",
    },
    ("pancreas_ct", 12): {"crln": "82.76±1.01, 70.90±1.45, 1.35±0.19, 4.81±0.60"},
    ("brats19", 25): {"crln": "86.73±1.46, 77.85±2.02, 1.67±0.30, 7.15±1.12"},
    ("brats19", 50): {"crln": "87.17±1.24, 78.19±1.80, 1.62±0.32, 6.79±1.05"},
}
TRAINERS = {
    "article": {
        "supervised": "nnUNetTrainer_article",
        "mean_teacher": "nnUNetTrainer_MeanTeacher_article",
        "crln_no_cps": "nnUNetTrainer_CRLN_noCPS_article",
        "crln": "nnUNetTrainer_CRLN_article",
    },
    "nnunet": {
        "supervised": "nnUNetTrainer_demo",
        "mean_teacher": "nnUNetTrainer_MeanTeacher_demo",
        "crln_no_cps": "nnUNetTrainer_CRLN_noCPS_demo",
        "crln": "nnUNetTrainer_CRLN_demo",
    },
}
# With our settings and nnU-Net's augmentation, not the article's.
METHODS_OF_NNUNET = {
    "supervised": "labelled cases alone",
    "mean_teacher": "mean teacher",
    "crln_no_cps": "CRLN without CPS",
    "crln": "CRLN",
}
CONFIGURATION = "3d_article"


# ---------------------------------------------------------------------------- data


def dataset_name(args: argparse.Namespace) -> str:
    number = 890 if args.fold is None else 800 + args.fold
    return f"Dataset{number}_{args.article}{args.num_labelled}"


def choose(labelled: list[str], others: list[str], fold: int | None) -> tuple[list[str], list[str], list[str]]:
    """Labelled, unlabelled and held-out cases of a fold; without a fold those of the protocol and no held-out ones.

    Fold 0 keeps the article's labelled cases. Another fold holds out other cases and draws its labelled ones from all
    that remain, so that the labelled cases are another choice too.
    """
    if fold is None:
        return labelled, others, []
    held_out = sorted(others)[fold::3][:HELD_OUT]
    rest = sorted({*labelled, *others} - set(held_out))
    chosen = labelled
    if fold:
        chosen = sorted(np.random.default_rng(fold).choice(rest, len(labelled), replace=False).tolist())
    return sorted(chosen), sorted(set(rest) - set(chosen)), held_out


def write_raw_dataset(args: argparse.Namespace) -> Path:
    """Links into the converted dataset; what is held out is in none of its folders."""
    source = json.loads((args.raw / "dataset.json").read_text(encoding="utf-8"))
    ending, channels = source["file_ending"], len(source["channel_names"])
    where = {
        path.name[: -len(f"_0000{ending}")]: split
        for split in ("Tr", "Ul")
        for path in (args.raw / f"images{split}").glob(f"*_0000{ending}")
    }
    labelled = source["crln"]["labelled_cases"]
    if len(labelled) != args.num_labelled:
        raise SystemExit(f"{args.raw} has {len(labelled)} labelled cases, --num_labelled is {args.num_labelled}.")
    others = sorted(set(where) - set(labelled))
    roles = dict(zip(("Tr", "Ul", "HeldOut"), choose(labelled, others, args.fold)))
    folder = args.work / "raw" / dataset_name(args)
    for role, cases in roles.items():
        for case in cases:
            for channel in range(channels):
                name = f"{case}_{channel:04d}{ending}"
                link(args.raw / f"images{where[case]}" / name, folder / f"images{role}" / name)
            label = args.raw / f"labels{where[case]}" / f"{case}{ending}"
            if label.exists():
                link(label, folder / f"labels{role}" / label.name)
    for kind in ("images", "labels"):
        for path in (args.raw / f"{kind}Ts").glob(f"*{ending}"):
            link(path, folder / f"{kind}Ts" / path.name)
    source["numTraining"] = len(roles["Tr"])
    source["crln"] |= {"labelled_cases": roles["Tr"], "held_out_cases": roles["HeldOut"]}
    (folder / "dataset.json").write_text(json.dumps(source, indent=1))
    return folder


def plans_name(args: argparse.Namespace) -> str:
    return "nnUNetPlans" if args.scale == 1 else f"nnUNetPlans_scale{args.scale}"


def reduce_resolution(configuration: dict, parent: dict, plans: str, scale: int) -> None:
    """Larger voxels, a smaller patch, and a network that halves it less often."""
    configuration["spacing"] = [s * scale for s in configuration.get("spacing", parent["spacing"])]
    configuration["data_identifier"] = f"{plans}_{CONFIGURATION}"
    configuration["patch_size"] = [size // scale for size in configuration["patch_size"]]
    kwargs = configuration["architecture"]["arch_kwargs"]
    drop = int(np.log2(scale))
    for key in ("features_per_stage", "n_conv_per_stage", "strides"):
        kwargs[key] = kwargs[key][:-drop]
    kwargs["n_conv_per_stage_decoder"] = kwargs["n_conv_per_stage_decoder"][drop:]


def prepare(args: argparse.Namespace) -> None:
    from nnunetv2.experiment_planning.plan_and_preprocess_api import preprocess
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    from nnunetv2_crln.cli.plan_and_preprocess import command
    from nnunetv2_crln.unlabelled.preprocessing import preprocess_unlabelled

    raw = write_raw_dataset(args)
    number = int(raw.name[7:10])
    shared = f"-d {number} -c {CONFIGURATION} -npfp {args.processes} -np {args.processes} --no_pbar"
    protocol = f"--article {args.article} --num_labelled {args.num_labelled}"
    folder = args.work / "preprocessed" / raw.name
    command([*shared.split(), *protocol.split(), *(["--no_pp"] if args.scale > 1 else [])])
    if args.scale == 1:
        return
    plans = json.loads((folder / "nnUNetPlans.json").read_text(encoding="utf-8"))
    plans["plans_name"] = plans_name(args)
    configurations = plans["configurations"]
    reduce_resolution(configurations[CONFIGURATION], configurations["3d_fullres"], plans["plans_name"], args.scale)
    file = folder / f"{plans['plans_name']}.json"
    file.write_text(json.dumps(plans, indent=1))
    preprocess([number], plans["plans_name"], [CONFIGURATION], [args.processes], show_progress_bar=False)
    preprocess_unlabelled(raw, folder, PlansManager(str(file)), CONFIGURATION, args.processes, show_progress=False)


# ---------------------------------------------------------------------------- one run


def settings_of(args: argparse.Namespace, protocol_block: dict) -> dict[str, Any]:
    """The "crln" block of a run."""
    method = METHODS[args.method]
    block = {} if args.network == "nnunet" or args.method == DEFAULTS else dict(protocol_block)
    if "rectification_start" in block:  # the same share of a shorter training
        block["rectification_start"] = round(block["rectification_start"] / ITERATIONS * args.iterations)
    changed = dict(method.settings)
    if "rectification_share" in changed:
        changed["rectification_start"] = round(changed.pop("rectification_share") * args.iterations)
    if args.features is not None:
        changed["representation_kernel"] = 1  # a dense head would cost as much as a network of eight channels
    looks = {"overlay_every": 0, "quality_cases": 0, "save_every": 2}
    return {**block, **changed, **looks, "seed": args.seed, **dict(args.override)}


def narrow(kwargs: dict, features: int, dropout: bool) -> None:
    """Fewer channels; half of eight channels dropped would leave too few, so that dropout goes with them."""
    stages = len(kwargs["features_per_stage"])
    kwargs["features_per_stage"] = [features * 2**stage for stage in range(stages)]
    if dropout:
        kwargs["dropout"] = 0.0


def nnunets_network(parent: dict, like: dict, features: int | None) -> dict:
    """nnU-Net's architecture with as many stages as the protocol's; narrowed to one convolution a stage if asked to."""
    architecture = json.loads(json.dumps(parent["architecture"]))
    kwargs = architecture["arch_kwargs"]
    stages = len(like["architecture"]["arch_kwargs"]["features_per_stage"])
    if features is not None:
        kwargs["n_stages"] = stages
        kwargs["features_per_stage"] = [features * 2**stage for stage in range(stages)]
        kwargs["kernel_sizes"] = [[3, 3, 3]] * stages
        kwargs["strides"] = [[1, 1, 1]] + [[2, 2, 2]] * (stages - 1)
        kwargs["n_conv_per_stage"] = [1] * stages
        kwargs["n_conv_per_stage_decoder"] = [1] * (stages - 1)
    return architecture


def build_trainer(args: argparse.Namespace):
    import torch

    from nnunetv2_crln.nnunet_trainers import nnunetv2_crln_trainers as trainers

    folder = args.work / "preprocessed" / dataset_name(args)
    plans = json.loads((folder / f"{plans_name(args)}.json").read_text(encoding="utf-8"))
    configuration, parent = plans["configurations"][CONFIGURATION], plans["configurations"]["3d_fullres"]
    configuration["crln"] = settings_of(args, configuration["crln"])
    if args.network == "nnunet":
        configuration["architecture"] = nnunets_network(parent, configuration, args.features)
        if args.features is None:
            configuration["patch_size"] = [size // args.scale for size in parent["patch_size"]]
    elif args.features is not None:
        narrow(configuration["architecture"]["arch_kwargs"], args.features, dropout=True)
    per_epoch = min(200, max(1, args.iterations // 20))
    configuration["short_schedule"] = {
        "num_epochs": args.iterations // per_epoch,
        "num_iterations_per_epoch": per_epoch,
        "num_val_iterations_per_epoch": 1,
        "initial_lr": args.learning_rate,
        "seed": args.seed,
    }
    plans["plans_name"] += f"_{run_name(args)}"
    plans["continue_training"] = False
    dataset_json = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    name = TRAINERS[args.network][METHODS[args.method].trainer]
    return getattr(trainers, name)(plans, CONFIGURATION, "all", dataset_json, torch.device(args.device))


def judged_cases(args: argparse.Namespace) -> list[tuple[str, Path, Path]]:
    """Case, images and label of what a run is measured on."""
    raw = args.work / "raw" / dataset_name(args)
    split = "Ts" if args.fold is None else "HeldOut"
    labels = sorted((raw / f"labels{split}").glob("*.nii.gz"))
    return [(p.name[:-7], raw / f"images{split}" / p.name.replace(".nii.gz", "_0000.nii.gz"), p) for p in labels]


def measure(segment, cases: list[tuple[str, Path, Path]]) -> dict[str, dict[str, float]]:
    """Metrics of each case, foreground against background (all three datasets have one class in the article)."""
    import SimpleITK as sitk

    from nnunetv2_crln.evaluation.metrics import mask_metrics

    found = {}
    for case, image, label_file in cases:
        label = sitk.ReadImage(str(label_file))
        spacing = tuple(reversed(label.GetSpacing()))
        found[case] = mask_metrics(segment(image) > 0, sitk.GetArrayFromImage(label) > 0, spacing)
    return found


def deployable(trainer, deploy: str | None) -> dict:
    """The networks that could be deployed, or the one asked for; a supervised training has its student alone."""
    found = networks(trainer)
    return {deploy: found[deploy]} if deploy in found else found


def one(args: argparse.Namespace) -> None:
    import torch

    if args.device == "cpu":
        torch.set_num_threads(1)
        os.environ["nnUNet_n_proc_DA"] = "0"
    trainer = build_trainer(args)
    final = Path(trainer.output_folder) / "checkpoint_final.pth"
    latest = final.with_name("checkpoint_latest.pth")
    begin = time.time()
    if final.exists():
        trainer.load_checkpoint(str(final))
    else:
        if latest.exists():
            trainer.load_checkpoint(str(latest))
        trainer.run_training()
    seconds = time.time() - begin
    curves = trainer.logger.get_checkpoint()
    cuda = args.device == "cuda"
    result = {
        **{key: getattr(args, key) for key in ("article", "num_labelled", "method", "network", "fold", "seed")},
        **{key: getattr(args, key) for key in ("iterations", "scale", "features", "learning_rate", "device")},
        "override": dict(args.override),
        "labelled_cases": trainer.dataset_json["crln"]["labelled_cases"],
        "settings": trainer.configuration_manager.configuration["crln"],
        "patch_size": list(trainer.configuration_manager.patch_size),
        "parameters": sum(p.numel() for p in trainer.network.parameters()),
        "seconds": round(seconds),
        "peak_memory_mib": torch.cuda.max_memory_allocated() / 2**20
        if cuda
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,
        "curves": curves,
        "cases": {
            name: measure(segmenter(trainer, module), judged_cases(args))
            for name, module in deployable(trainer, args.deploy).items()
        },
        "environment": {**environment(), "gpu": torch.cuda.get_device_name() if cuda else None},
    }
    best = final.with_name("checkpoint_best.pth")
    if args.best and best.exists():
        trainer.load_checkpoint(str(best))
        name, module = next(iter(networks(trainer).items()))
        result["best_checkpoint_diagnostic"] = {name: measure(segmenter(trainer, module), judged_cases(args))}
    write_result(result, result_file(args))


def run_name(args: argparse.Namespace) -> str:
    fold = "test" if args.fold is None else f"fold{args.fold}"
    size = "" if args.scale == 1 else f"__scale{args.scale}"
    size += "" if args.features is None else f"__f{args.features}"
    changed = "".join(f"__{key}={value}" for key, value in args.override)
    return (
        f"{args.article}{args.num_labelled}__{args.network}__{args.method}__{fold}{size}__{args.iterations}it"
        f"__lr{args.learning_rate:g}__seed{args.seed}{changed}"
    )


def result_file(args: argparse.Namespace) -> Path:
    return args.results / f"{run_name(args)}.json"


# ---------------------------------------------------------------------------- queue, table, predictions


def methods_of(args: argparse.Namespace, network: str) -> list[str]:
    """Of the experiments asked for, each once; for nnU-Net's network the methods, not the article's ablations."""
    names = [args.method] if args.method else [m for e in args.experiments for m in EXPERIMENTS[e][1]]
    return [m for m in dict.fromkeys(names) if network == "article" or m in METHODS_OF_NNUNET]


def queued(args: argparse.Namespace) -> list[Run]:
    """All runs that the options ask for, in order."""
    queue = []
    for fold, seed, network in itertools.product(args.folds, args.seeds, args.networks):
        for method in methods_of(args, network):
            entry = argparse.Namespace(**{**vars(args), "fold": fold, "seed": seed, "network": network})
            entry.method = method
            queue.append(Run(run_name(entry), result_file(entry), _command(entry)))
    return queue


def run(args: argparse.Namespace) -> None:
    run_queue(queued(args), args.work, args.jobs)


def _command(args: argparse.Namespace) -> list[str]:
    command = [sys.executable, __file__, "one"]
    for key in ("work", "results", "article", "num_labelled", "method", "scale", "iterations"):
        command += [f"--{key}", str(getattr(args, key))]
    command += ["--learning_rate", str(args.learning_rate), "--device", args.device]
    command += ["--seeds", str(args.seed), "--networks", args.network]
    command += [] if args.fold is None else ["--fold", str(args.fold)]
    command += [] if args.features is None else ["--features", str(args.features)]
    command += ["--best"] if args.best else []
    command += ["--deploy", args.deploy] if args.deploy else []
    for key, value in args.override:
        command += ["--override", f"{key}={json.dumps(value)}"]
    return command


def read_results(args: argparse.Namespace) -> list[dict]:
    results = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(args.results.glob("*.json"))]
    wanted = {"article": args.article, "num_labelled": args.num_labelled, "scale": args.scale}
    wanted |= {"iterations": args.iterations, "features": args.features}
    return [r for r in results if all(r[key] == value for key, value in wanted.items())]


def values(cases: dict[str, dict[str, float]], metric: str) -> np.ndarray:
    """(cases,), NaN where undefined."""
    return np.array([np.nan if c[metric] is None else c[metric] for _, c in sorted(cases.items())], float)


def cells(cases: dict[str, dict[str, float]]) -> list[str]:
    """Mean and bootstrap standard deviation (100 resamples, as in the article) of each metric."""
    from nnunetv2_crln.evaluation.bootstrap import bootstrap_mean

    found = []
    for metric in METRICS:
        factor = 100 if metric in ("Dice", "Jaccard") else 1
        b = bootstrap_mean(factor * values(cases, metric))
        undefined = f" ({b['n_nan']} undefined)" if b["n_nan"] else ""
        found.append(f"{b['mean']:.2f} ± {b['sd']:.2f}{undefined}")
    return found


def difference(cases: dict, base: dict) -> str:
    from nnunetv2_crln.evaluation.comparison import paired_difference

    d = paired_difference(100 * values(cases, "Dice"), 100 * values(base, "Dice"))
    return f"{d['difference']:+.2f} [{d['ci_low']:+.2f}, {d['ci_high']:+.2f}]"


def table(args: argparse.Namespace) -> None:
    """Markdown: per experiment a row per method, fold, seed and deployed network, published numbers beside it."""
    results = read_results(args)
    published = PUBLISHED.get((args.article, args.num_labelled), {})
    for experiment in args.experiments:
        title, methods = EXPERIMENTS[experiment]
        rows = []
        for network in args.networks:
            for method in methods:
                runs = [r for r in results if r["network"] == network and r["method"] == method]
                for r in sorted(runs, key=lambda r: (r["fold"] is None, r["fold"], r["seed"], str(r["override"]))):
                    comparable = network == "article" and not r["override"]
                    rows += _rows(r, results, published.get(method, "–") if comparable else "–")
        if not rows:
            continue
        print(f"\n{title}: {args.article} {args.num_labelled}, {args.iterations} iterations, scale {args.scale}\n")
        measures = "Dice % | Jaccard % | ASD voxel | 95HD voxel"
        print(f"| network | method | judged on | deployed | {measures} | Dice against mean teacher | published |")
        print("|---" * 10 + "|")
        for row in rows:
            print("| " + " | ".join(row) + " |")


def _rows(r: dict, results: list[dict], published: str) -> list[list[str]]:
    same = ("network", "fold", "seed", "learning_rate")
    base = [b for b in results if b["method"] == "mean_teacher" and all(b[k] == r[k] for k in same)]
    base = [b for b in base if not b["override"]]
    label = _label(r)
    judged = "test" if r["fold"] is None else f"fold {r['fold']}"
    rows = []
    for name, cases in {**r["cases"], **_best(r)}.items():
        against = ""
        if base and (r is not base[0] or name != "teacher"):
            against = difference(cases, base[0]["cases"]["teacher"])
        first = name == next(iter(r["cases"]))
        rows.append([r["network"], label, judged, name, *cells(cases), against, published if first else ""])
    return rows


def _label(r: dict) -> str:
    label = METHODS_OF_NNUNET[r["method"]] if r["network"] == "nnunet" else METHODS[r["method"]].label
    return label + "".join(f", {key} {value}" for key, value in r["override"].items())


def _best(r: dict) -> dict:
    found = r.get("best_checkpoint_diagnostic", {})
    return {f"{name}, best epoch (diagnostic only)": cases for name, cases in found.items()}


CURVES = {
    "mu": "μ",
    "confident_raw": "confident voxels before rectification %",
    "confident": "and after %",
    "pseudo_dice_raw": "Dice of pseudo labels before %",
    "pseudo_dice": "and after %",
    "pseudo_dice_map": "Dice of M alone %",
}


def curves(args: argparse.Namespace) -> None:
    """Markdown: what the monitored unlabelled cases and mu say in ten places of each semi-supervised training."""
    for r in read_results(args):
        logged = r["curves"]
        if "crln_mu" not in logged:
            continue
        epochs = len(logged["crln_mu"])
        fold = "test" if r["fold"] is None else f"fold {r['fold']}"
        print(f"\n{_label(r)}, {r['network']}, {fold}, seed {r['seed']}\n")
        print("| iteration | " + " | ".join(CURVES.values()) + " |")
        print("|---" * (len(CURVES) + 1) + "|")
        for epoch in np.unique(np.linspace(0, epochs - 1, 10).round().astype(int)):
            shown = [f"{(epoch + 1) * r['iterations'] // epochs}"]
            for key in CURVES:
                value = logged[f"crln_{key}"][epoch]
                if key == "mu" and METHODS[r["method"]].trainer == "mean_teacher":
                    value = None  # nothing is rectified
                shown.append("–" if value is None or np.isnan(value) else f"{value * (1 if key == 'mu' else 100):.2f}")
            print("| " + " | ".join(shown) + " |")


def predict(args: argparse.Namespace) -> None:
    """Segment a folder of images with the final checkpoint of one run; one compressed archive of NIfTI masks."""
    import SimpleITK as sitk
    import torch

    torch.set_num_threads(1)
    args.network, args.seed = args.networks[0], args.seeds[0]
    trainer = build_trainer(args)
    trainer.load_checkpoint(str(Path(trainer.output_folder) / "checkpoint_final.pth"))
    name, network = next(iter(deployable(trainer, args.deploy).items()))
    segment = segmenter(trainer, network, args.step_size)
    scratch = args.work / "predictions"
    scratch.mkdir(exist_ok=True)
    with tarfile.open(args.output, "w:gz") as archive:
        for image in sorted(args.images.glob("*_0000.nii.gz")):
            mask = sitk.GetImageFromArray(segment(image).astype(np.uint8))
            mask.CopyInformation(sitk.ReadImage(str(image)))
            file = scratch / image.name.replace("_0000", "")
            sitk.WriteImage(mask, str(file), True)
            content = file.read_bytes()
            entry = tarfile.TarInfo(file.name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    print(f"{run_name(args)}, {name}: {args.output}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["prepare", "run", "one", "table", "curves", "predict"])
    parser.add_argument("--work", type=Path, required=True, help="folder for datasets, models and logs")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--raw", type=Path, help="prepare: the converted dataset")
    parser.add_argument("--article", choices=list(LABELLED_OF_ARTICLE), default="left_atrium")
    parser.add_argument("--num_labelled", type=int, help="default: the article's smallest")
    parser.add_argument("--experiments", nargs="+", choices=list(EXPERIMENTS), default=["main"])
    parser.add_argument("--method", choices=list(METHODS), help="one method instead of experiments")
    parser.add_argument("--networks", nargs="+", choices=list(TRAINERS), default=["article", "nnunet"])
    parser.add_argument("--fold", nargs="+", type=int, dest="folds", help="judge on held-out training cases")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--scale", type=int, choices=[1, 2, 4], default=1, help="2: half resolution")
    parser.add_argument("--features", type=int, help="channels at full resolution; default: the network's own")
    parser.add_argument("--iterations", type=int, default=ITERATIONS)
    parser.add_argument("--learning_rate", type=float, default=2.5e-3)
    parser.add_argument("--override", type=parse_override, action="append", default=[], help="a crln setting, key=JSON")
    parser.add_argument("--best", action="store_true", help="measure the best epoch too, as a labelled diagnostic")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2, help="prepare: processes")
    parser.add_argument("--images", type=Path, help="predict: folder of *_0000.nii.gz")
    parser.add_argument(
        "--deploy",
        choices=["teacher", "student", "rectified_teacher"],
        help="measure or predict with this one; default: all, the first",
    )
    parser.add_argument("--step_size", type=float, default=0.5, help="predict: tile step as a share of the patch")
    parser.add_argument("-o", "--output", type=Path, help="predict: archive (.tar.gz)")
    args = parser.parse_args()
    args.num_labelled = args.num_labelled or LABELLED_OF_ARTICLE[args.article]
    args.folds = args.folds or [None]
    args.fold, args.seed, args.network = args.folds[0], args.seeds[0], args.networks[0]
    args.work = args.work.resolve()
    args.work.mkdir(parents=True, exist_ok=True)
    set_paths(args.work)
    commands = {"prepare": prepare, "run": run, "one": one, "table": table, "curves": curves, "predict": predict}
    commands[args.command](args)


if __name__ == "__main__":
    main()

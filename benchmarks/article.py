"""The paper's experiments and ablations: published numbers beside ours.

    python benchmarks/article.py prepare --raw nnUNet_raw/Dataset101_LeftAtrium --work WORK
    python benchmarks/article.py run     --work WORK --device cuda
    python benchmarks/article.py table   --work WORK
    python benchmarks/article.py curves  --work WORK
    python benchmarks/article.py predict --work WORK --method crln --images imagesTs -o predictions.tar.gz

``prepare`` takes a dataset that one of the scripts in dataset_conversion/ has made, labels of the unlabelled cases
included (they are used to judge alone). ``run`` is a queue that may be stopped and started again, on several terminals
at once; a finished run is never repeated. Every run is judged at its final checkpoint, on the test cases (imagesTs,
labelsTs). With ``--fold K`` it is judged on 20 of the training cases instead, which are then in no part of the
training: fold 0 trains on the paper's own labelled cases, the others draw theirs. ``--scale 2`` halves the
resolution, ``--features 8`` narrows the networks, ``--iterations`` shortens the training: with all three a CPU does it.

``curves`` shows how the pseudo labels of a few fixed unlabelled cases develop (Fig. 1), and mu (Fig. 11).

Two networks: ``article`` is the protocol's (V-Net or 3D U-Net) under the paper's augmentation and optimiser;
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
from pathlib import Path

import numpy as np
from article_experiments import EXPERIMENTS, ITERATIONS, LABELLED_OF_ARTICLE, METHODS, TRAINERS, methods_of, settings_of
from article_tables import curves, table
from runs import Run, environment, link, networks, parse_override, run_queue, segmenter, set_paths, write_result

RESULTS = Path(__file__).parent / "results" / "article"
HELD_OUT = 20
CONFIGURATION = "3d_article"


# ---------------------------------------------------------------------------- data


def dataset_name(args: argparse.Namespace) -> str:
    number = 890 if args.fold is None else 800 + args.fold
    return f"Dataset{number}_{args.article}{args.num_labelled}"


def choose(labelled: list[str], others: list[str], fold: int | None) -> tuple[list[str], list[str], list[str]]:
    """Labelled, unlabelled and held-out cases of a fold; without a fold those of the protocol and no held-out ones.

    Fold 0 keeps the paper's labelled cases. Another fold holds out other cases and draws its labelled ones from all
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
    from nnunetv2_crln.plan_and_preprocess.unlabelled_cases import preprocess_unlabelled

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
    """Metrics of each case, foreground against background (all three datasets have one class in the paper)."""
    import SimpleITK as sitk

    from nnunetv2_crln.evaluation.metrics import mask_metrics

    found = {}
    for case, image, label_file in cases:
        label = sitk.ReadImage(str(label_file))
        spacing = tuple(reversed(label.GetSpacing()))
        found[case] = mask_metrics(segment(image) > 0, sitk.GetArrayFromImage(label) > 0, spacing)
    return found


def deployable(trainer, deploy: str | None) -> dict:
    """Return the networks that could be deployed, or the requested one; a supervised training has only its student."""
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


def predict(args: argparse.Namespace) -> None:
    """Segment a folder of images with the final checkpoint of one run; one compressed archive of NIfTI masks."""
    import SimpleITK as sitk
    import torch
    from nnunetv2.postprocessing.remove_connected_components import remove_all_but_largest_component_from_segmentation

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
            voxels = segment(image)
            if args.largest_component:
                voxels = remove_all_but_largest_component_from_segmentation(voxels, 1)
            mask = sitk.GetImageFromArray(voxels.astype(np.uint8))
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
    parser.add_argument("--num_labelled", type=int, help="default: the paper's smallest")
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
    parser.add_argument("--largest_component", action="store_true", help="predict: nnU-Net's postprocessing")
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

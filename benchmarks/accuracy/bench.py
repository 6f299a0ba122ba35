"""Does the unlabelled data help? Data sets x methods x labelled counts x draws, inside nnU-Net.

    python benchmarks/accuracy/bench.py prepare --bed hippocampus --labelled 4 --work WORK --data Task04_Hippocampus
    python benchmarks/accuracy/bench.py run     --bed hippocampus --labelled 4 --work WORK --jobs 2
    python benchmarks/accuracy/bench.py table   --bed hippocampus
    python benchmarks/accuracy/bench.py predict --bed hippocampus --labelled 4 --work WORK --methods crln \\
        --images imagesTs --output crln.tar.xz
    python benchmarks/accuracy/bench.py pseudo_labels --bed hippocampus --labelled 4 --work WORK

Data: hippocampus takes the Decathlon's folder; left_atrium and acdc the dataset that the conversion script has made
(Dataset101_LeftAtrium, Dataset104_ACDC), hidden labels included: they are used to measure, and by the oracle alone.

``run`` is a queue that may be stopped or killed and started again, on several terminals at once: a training goes on at
its checkpoint, and a finished one is never repeated. With the default plan a CPU thread needs 5 to 15 minutes a run.
``--plan nnunet --device cuda`` takes nnU-Net's own plan, ``--plan article`` the paper's protocol with
``--experiments table5 ...`` for its ablations.

The held-out part is fixed and never seen before the final checkpoint is measured. All methods of a draw share the
labelled cases, the warm start, the number of iterations and the seed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

from beds import BEDS
from run_queue import IN_PROGRESS, Entry, lock_of, run_queue
from runs import Run, result_file, with_needs

RESULTS = Path(__file__).parents[1] / "results" / "accuracy"


def main() -> int:
    args = parse()
    if args.command != "table":
        args.work = (args.work / args.bed).resolve()
        set_paths(args.work)
    return COMMANDS[args.command](args) or 0


def runs_of(args: argparse.Namespace) -> list[Run]:
    """Return the runs that the options ask for, each once."""
    from article_experiments import EXPERIMENTS, trained_as

    methods = [m for e in args.experiments for m in EXPERIMENTS[e][1]] if args.experiments else args.methods
    runs = [
        trained_as(
            Run(
                *(args.bed, method, labelled, draw, args.iterations, args.learning_rate, args.warm_start, args.plan),
                *(args.scale, args.features, args.judge, tuple(args.override), args.device),
            )
        )
        for labelled, draw, method in itertools.product(args.labelled, args.draws, methods)
    ]
    return list({run.name: run for run in runs}.values())


def prepare(args: argparse.Namespace) -> None:
    from preparing import prepare as prepare_draw

    for wanted in runs_of(args):
        prepare_draw(wanted, args.data, args.work)


def run(args: argparse.Namespace) -> int:
    """Make what is missing; exit code 1 if something failed."""
    command = [sys.executable, __file__, "one", "--work", str(args.work.parent), "--results", str(args.results)]
    command += ["--networks", *args.networks] if args.networks else []
    entries = [
        Entry(
            wanted.name,
            result_file(args.results, wanted),
            [*command, *wanted.arguments()],
            [need.name for need in wanted.needed()],
        )
        for wanted in with_needs(runs_of(args))
    ]
    return int(bool(run_queue(entries, args.work, args.jobs)))


def one(args: argparse.Namespace) -> int:
    from training import train_and_measure

    from nnunetv2_crln.errors import UserError

    wanted = runs_of(args)[0]
    with lock_of(args.work, wanted.name) as lock:
        try:
            lock.acquire(f"{wanted.name} is in progress")
        except UserError as error:
            print(error)
            return IN_PROGRESS
        if not result_file(args.results, wanted).exists():
            train_and_measure(wanted, args.work, args.results, args.networks)
    return 0


def predict(args: argparse.Namespace) -> None:
    from measuring import largest_components, networks, segmenter, write_predictions
    from trainers import trained

    wanted = runs_of(args)[0]
    trainer = trained(wanted, args.work)
    found = networks(trainer)
    name = args.networks[0] if args.networks else next(iter(found))
    segment = segmenter(trainer, found[name])
    count = write_predictions(
        largest_components(segment) if args.largest_component else segment, args.images, args.output
    )
    print(f"{wanted.name}, {name}: {count} cases in {args.output}")


def pseudo_labels(args: argparse.Namespace) -> None:
    """Compare the labels that finished trainings give to unlabelled cases with the hidden ones."""
    from measuring import judged_cases, networks, segmenter
    from pseudo_label_errors import HEADER, count, rows
    from trainers import trained
    from training import write_result

    print("\n".join(HEADER))
    for wanted in runs_of(args):
        trainer = trained(wanted, args.work)
        cases = judged_cases(replace(wanted, judge="dev"), args.work)
        found = networks(trainer)
        counts = {
            name: count(segmenter(trainer, found[name]), cases, trainer.dataset_json["labels"])
            for name in args.networks or found
            if name in found
        }
        for name, of_network in counts.items():
            print("\n".join(rows(f"{wanted.method}, draw {wanted.draw}, {name}", of_network)), flush=True)
        write_result(counts, result_file(args.results / "pseudo_labels", wanted))


def table(args: argparse.Namespace) -> None:
    from tables import print_table

    print_table(args.results, args.bed, args.judge, args.networks)


def set_paths(work: Path) -> None:
    """Point nnU-Net's three folders into ``work``; one process for everything."""
    for name in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{name}"] = str(work / name)
        (work / name).mkdir(parents=True, exist_ok=True)
    os.environ["nnUNet_def_n_proc"] = "1"
    os.environ.setdefault("nnUNet_n_proc_DA", "1")


def parse_override(text: str) -> tuple[str, object]:
    """Parse ``key=JSON`` of a command line, such as ``cps_weight=1``."""
    key, _, value = text.partition("=")
    return key, json.loads(value)


def parse() -> argparse.Namespace:
    from article_experiments import EXPERIMENTS
    from methods import ABLATIONS, METHODS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=list(COMMANDS))
    parser.add_argument("--bed", choices=list(BEDS), required=True)
    parser.add_argument("--data", type=Path, help="prepare: folder of the data set")
    parser.add_argument("--work", type=Path, help="folder for datasets, models, locks and logs")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=list(dict.fromkeys([*METHODS, *ABLATIONS])),
        default=["supervised", "mean_teacher", "crln"],
    )
    parser.add_argument("--experiments", nargs="+", choices=list(EXPERIMENTS), help="of the paper, with --plan article")
    parser.add_argument("--labelled", nargs="+", type=int, default=[4], help="labelled cases, or patients of acdc")
    parser.add_argument("--draws", nargs="+", type=int, default=[0], help="0 to 19; 0: the published choice")
    parser.add_argument("--iterations", type=int, default=600)
    parser.add_argument("--warm_start", type=int, default=1000, help="start from a supervised training of this length")
    parser.add_argument("--learning_rate", type=float, default=0.05)
    parser.add_argument("--plan", default="cpu", help="cpu, another of the bed's reduced plans, nnunet or article")
    parser.add_argument("--scale", type=int, choices=[1, 2, 4], default=1, help="article: 2 halves the resolution")
    parser.add_argument("--features", type=int, help="article: channels at full resolution")
    parser.add_argument("--judge", choices=["test", "dev"], default="test", help="dev: for choosing settings")
    parser.add_argument(
        "--override", type=parse_override, action="append", default=[], help="a crln setting, e.g. cps_weight=1"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--images", type=Path, help="predict: folder of images")
    parser.add_argument("--output", type=Path, help="predict: tar.xz to write")
    parser.add_argument("--largest_component", action="store_true", help="predict: nnU-Net's postprocessing")
    parser.add_argument(
        "--networks",
        nargs="+",
        help="teacher, student, rectified_teacher: measure, show or predict with these instead of the deployed one",
    )
    args = parser.parse_args()
    if args.command == "prepare" and args.data is None:
        parser.error("prepare needs --data, the folder of the data set")
    if args.command != "table" and args.work is None:
        parser.error(f"{args.command} needs --work, a folder for datasets, models and logs")
    return args


COMMANDS = {
    "prepare": prepare,
    "run": run,
    "one": one,
    "table": table,
    "predict": predict,
    "pseudo_labels": pseudo_labels,
}


if __name__ == "__main__":
    sys.exit(main())

"""The data sets that methods are compared on: cases, held-out part, labelled counts and the plan for a CPU."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from nnunetv2_crln.dataset_conversion.common.splits import Split


@dataclass(frozen=True)
class Case:
    """One image with its label.

    Attributes:
        name: Identifier in nnU-Net's sense.
        group: Patient; the cases of a group are labelled, unlabelled or held out together.
        images: One file for each channel.
        label: Label file.
    """

    name: str
    group: str
    images: tuple[Path, ...]
    label: Path


@dataclass(frozen=True)
class Plan:
    """What a plan changes in nnU-Net's own, so that a CPU trains it in minutes.

    Attributes:
        patch_size: Patch in voxels.
        features: Channels of each stage; one convolution a stage.
        batch_size: Labelled patches of a step; as many unlabelled ones come on top.
        scale: Factor on the voxels' sides.
    """

    patch_size: tuple[int, ...]
    features: tuple[int, ...]
    batch_size: int
    scale: int = 1


@dataclass(frozen=True)
class Source:
    """A data set as found in a folder.

    Attributes:
        cases: All cases with labels.
        dataset_json: What the derived datasets say about channels and labels.
    """

    cases: list[Case]
    dataset_json: dict[str, Any]


@dataclass(frozen=True)
class Bed:
    """A data set to compare methods on.

    Attributes:
        name: Name in commands, folders and tables.
        read: Finds the cases in ``--data``.
        test_groups: Chooses the groups that are held out from every training, given all groups in sorted order.
        counts: Labelled groups that runs may have; their places number the datasets. The last may be all of them.
        configuration: nnU-Net's configuration.
        plans: Reduced plans by name; ``nnunet`` stands for nnU-Net's own and ``article`` for the paper's protocol.
        distance: Metric of distances, ``HD95_mm`` or ``HD95_voxel``.
        published: Groups in the published order of labelling: draw 0 takes the first ones. Empty: all draws are random.
        article: Name of the paper's protocol, where it has one.
        keep: What the labelled cases keep of their labels, ``slices`` or ``scribbles``; their ignored voxels are the
            unlabelled data then, and there are no unlabelled cases.
        group_of: Patient of a case, by its name; by default every case is a patient of its own.
    """

    name: str
    read: Callable[[Path], Source]
    test_groups: Callable[[Sequence[str]], set[str]]
    counts: tuple[int, ...]
    configuration: str
    plans: dict[str, Plan]
    distance: str
    published: tuple[str, ...] = ()
    article: str | None = None
    keep: str | None = None
    group_of: Callable[[str], str] = str


@dataclass(frozen=True)
class Roles:
    """Cases of one draw by what they are used for."""

    labelled: list[Case] = field(default_factory=list)
    unlabelled: list[Case] = field(default_factory=list)
    test: list[Case] = field(default_factory=list)


def draw(bed: Bed, cases: Sequence[Case], labelled: int, seed: int) -> Roles:
    """Choose the labelled groups of a draw.

    Args:
        bed: Data set.
        cases: All its cases.
        labelled: Number of labelled groups; ``len(pool)`` labels all that are not held out.
        seed: Draw. Draw 0 is the published choice where there is one.

    Returns:
        The roles; no case has two.
    """
    groups = sorted({case.group for case in cases})
    test = bed.test_groups(groups)
    pool = [group for group in groups if group not in test]
    if labelled > len(pool):
        raise SystemExit(f"{bed.name} has {len(pool)} cases or patients outside of the test part, not {labelled}.")
    if seed == 0 and bed.published and labelled <= len(bed.published):
        chosen = set(bed.published[:labelled])
    else:
        chosen = set(np.random.default_rng(seed).choice(pool, labelled, replace=False).tolist())
    unlabelled = set() if bed.keep else set(pool) - chosen
    return Roles(
        [c for c in cases if c.group in chosen],
        [c for c in cases if c.group in unlabelled],
        [c for c in cases if c.group in test],
    )


# ---------------------------------------------------------------------------- reading


def read_decathlon(folder: Path) -> Source:
    """Read a task in the layout of the Medical Segmentation Decathlon, whose images have one channel."""
    source = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    labels = sorted((folder / "labelsTr").glob("[!.]*.nii.gz"))
    cases = [Case(p.name[:-7], p.name[:-7], (folder / "imagesTr" / p.name,), p) for p in labels]
    names = {name: int(value) for value, name in source["labels"].items()}
    return Source(cases, {"channel_names": source["modality"], "labels": names, "file_ending": ".nii.gz"})


def read_converted(group_of: Callable[[str], str] = str) -> Callable[[Path], Source]:
    """Return a reader of what a script of dataset_conversion/ has written, labels of unlabelled cases included."""

    def read(folder: Path) -> Source:
        source = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
        cases = [
            case for part in ("Tr", "Ul", "Ts") for case in raw_cases(folder, part, source["file_ending"], group_of)
        ]
        wanted = ("channel_names", "labels", "file_ending")
        return Source(sorted(cases, key=lambda case: case.name), {key: source[key] for key in wanted})

    return read


def raw_cases(folder: Path, part: str, ending: str, group_of: Callable[[str], str] = str) -> list[Case]:
    """Return the cases of images{part} that have a label, from a dataset in nnU-Net's raw layout."""
    cases = []
    for label in sorted((folder / f"labels{part}").glob(f"[!.]*{ending}")):
        name = label.name[: -len(ending)]
        images = sorted((folder / f"images{part}").glob(f"{name}_[0-9][0-9][0-9][0-9]{ending}"))
        cases.append(Case(name, group_of(name), tuple(images), label))
    return cases


# ---------------------------------------------------------------------------- data sets


def _every_third(groups: Sequence[str], most: int, never: Sequence[str] = ()) -> set[str]:
    return set([group for group in groups if group not in set(never)][::3][:most])


def _of_the_paper(name: str, counts: tuple[int, ...], published: int, plans: dict[str, Plan]) -> Bed:
    """Describe a data set of the paper; up to 20 training cases are held out where its test cases have no labels."""
    from nnunetv2_crln.plan_and_preprocess.article import find_protocol

    split = _published(name)
    article = {"brats2019": "brats19"}.get(name, name)
    find_protocol(article, published)  # fails here if the paper has no such protocol
    order, test = split.train[:published], set(split.test)

    def test_groups(groups: Sequence[str]) -> set[str]:
        return test & set(groups) or _every_third(groups, 20, never=order)

    return Bed(name, read_converted(), test_groups, counts, "3d_fullres", plans, "HD95_voxel", order, article)


def _left_atrium() -> Bed:
    plans = {
        "cpu": Plan((24, 40, 40), (8, 32, 64, 128), 2, scale=4),  # a patch is nearly a whole image
        "half": Plan((40, 56, 56), (8, 32, 64, 128), 2, scale=2),
        "narrow_half": Plan((40, 56, 56), (8, 16, 32, 64), 2, scale=2),
        "narrow_quarter": Plan((20, 28, 28), (8, 16, 32), 2, scale=4),
    }
    return _of_the_paper("left_atrium", (4, 8, 16, 30, 60), 8, plans)


def _acdc() -> Bed:
    split = _published("acdc")
    order, validation = split.patients(split.train)[:14], set(split.patients(split.validation))
    return Bed(
        name="acdc",
        read=read_converted(split.patient_of),
        # The ten validation patients, and fifteen of the training ones because ten are few.
        test_groups=lambda groups: validation | _every_third(groups, 15, never=[*order, *validation]),
        counts=(1, 3, 7, 14, 27, 55),
        configuration="2d",
        plans={"cpu": Plan((128, 128), (16, 32, 64, 128, 128, 128), 4, scale=2)},
        distance="HD95_voxel",  # the circulated files have lost the voxels' size
        published=tuple(order),
        group_of=split.patient_of,
    )


def _published(name: str) -> Split:
    from nnunetv2_crln.dataset_conversion.common.splits import published_split

    return published_split(name)


HIPPOCAMPUS = Bed(
    name="hippocampus",
    read=read_decathlon,
    test_groups=lambda groups: set(groups[::3][:60]),
    counts=(2, 4, 8, 70, 140),
    configuration="3d_fullres",
    plans={
        # As wide as a CPU allows: most of the time goes to the full resolution, so that it alone stays narrow.
        "cpu": Plan((32, 48, 32), (8, 32, 64, 128), 2),
        "narrow": Plan((32, 48, 32), (8, 16, 32, 64), 2),
    },
    distance="HD95_mm",
)
BEDS: dict[str, Callable[[], Bed]] = {
    "hippocampus": lambda: HIPPOCAMPUS,
    "hippocampus_slices": lambda: replace(HIPPOCAMPUS, name="hippocampus_slices", keep="slices"),
    "hippocampus_scribbles": lambda: replace(HIPPOCAMPUS, name="hippocampus_scribbles", keep="scribbles"),
    "acdc": _acdc,
    "left_atrium": _left_atrium,
    "pancreas_ct": lambda: _of_the_paper(
        "pancreas_ct", (6, 12), 6, {"cpu": Plan((48, 48, 48), (8, 32, 64, 128), 2, 2)}
    ),
    "brats2019": lambda: _of_the_paper("brats2019", (25, 50), 25, {"cpu": Plan((48, 48, 48), (8, 32, 64, 128), 2, 2)}),
}

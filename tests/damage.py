"""Ways to damage a dataset, and runs that must refuse it without changing a file."""

import gzip
import hashlib
import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from commands import TRAINERS
from nnunetv2.run.run_training import get_trainer_from_args

from nnunetv2_crln.cli.plan_and_preprocess import main
from nnunetv2_crln.errors import UserError

NAME = "Dataset999_Synthetic"
PLANS = "nnUNetPlans.json"
UNLABELLED = "imagesUl/unl_000_0000.nii.gz"
LABELLED = "imagesTr/lab_000_0000.nii.gz"
LABEL = "labelsTr/lab_000.nii.gz"

# ------------------------------------------------------------------ ways to damage a file


def cut(share=0.5):
    def damage(path: Path):
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])

    return damage


def cut_inside(path: Path):
    """Valid compression, too few voxels."""
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content[:-1000]))


def flip_bytes(path: Path):
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 50] = bytes(byte ^ 0xFF for byte in content[middle : middle + 50])
    path.write_bytes(content)


def overwrite(content: bytes):
    return lambda path: path.write_bytes(content)


def header_of_zeros(path: Path):
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(bytes(348) + content[348:]))


def voxels(change, **geometry):
    """Rewrite an image with other voxels or another geometry."""

    def damage(path: Path):
        image = sitk.ReadImage(str(path))
        new = sitk.GetImageFromArray(change(sitk.GetArrayFromImage(image)), isVector=geometry.get("vector", False))
        if new.GetDimension() == 3:
            new.SetSpacing([value * geometry.get("spacing", 1) for value in image.GetSpacing()])
            new.SetDirection(geometry.get("direction", image.GetDirection()))
        sitk.WriteImage(new, str(path))

    return damage


def same(array):
    return array


def put(value, where=(3, 3, 3)):
    def change(array):
        array = array.astype(np.float32)
        array[where] = value
        return array

    return change


FLIPPED = (-1, 0, 0, 0, 1, 0, 0, 0, 1)


def remove(path: Path):
    path.unlink()


def rename(name: str):
    return lambda path: path.rename(path.with_name(name))


def copy(name: str):
    return lambda path: shutil.copyfile(path, path.parent.parent / name)


def both_channels_to(case: str):
    def damage(path: Path):
        for channel in ("0000", "0001"):
            source = path.with_name(path.name.replace("0000.nii", f"{channel}.nii"))
            shutil.copyfile(source, path.parent.parent / f"{case}_{channel}.nii.gz")

    return damage


def folder_instead(path: Path):
    path.unlink()
    path.mkdir()


def dangling_link(path: Path):
    path.unlink()
    path.symlink_to("nowhere.nii.gz")


def unreadable(path: Path):
    path.chmod(0)


def entries(**changes):
    """Change entries of a JSON file; None removes one."""

    def damage(path: Path):
        content = {**json.loads(path.read_text()), **changes}
        path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))

    return damage


def configuration(**changes):
    def damage(path: Path):
        content = json.loads(path.read_text())
        block = {**content["configurations"]["3d_fullres"], **changes}
        content["configurations"]["3d_fullres"] = {k: v for k, v in block.items() if v is not None}
        path.write_text(json.dumps(content))

    return damage


def network(**changes):
    def damage(path: Path):
        content = json.loads(path.read_text())
        content["configurations"]["3d_fullres"]["architecture"].update(changes)
        path.write_text(json.dumps(content))

    return damage


# ------------------------------------------------------------------ runs

WAYS_OUT = (
    r"\b([Cc]opy|[Rr]emove|[Rr]eplace|[Cc]orrect|[Rr]ename|[Cc]onvert|[Aa]dd|[Cc]hange|[Pp]ut|[Mm]ove|[Ss]et it|Split|"
    r"Resample|keep|bring)\b"
)


def says_how_to_fix(message: str, *others: str) -> bool:
    """Whether a message tells what to do, in one of the usual words or one of some others; paths do not count."""
    return re.search("|".join((WAYS_OUT, *others)), re.sub(r"\S*[/\\]\S*", "", message)) is not None


def set_up(patch, root: Path) -> None:
    for key in ("raw", "preprocessed", "results"):
        (root / key).mkdir(exist_ok=True)
        patch.setenv(f"nnUNet_{key}", str(root / key))
    patch.setenv("nnUNet_n_proc_DA", "1")
    patch.setenv("nnUNet_extTrainer", TRAINERS)
    torch.set_num_threads(1)


def run(patch, *flags: str) -> None:
    arguments = ["-d", "999", "-c", "3d_fullres", "-npfp", "1", "-np", "1", "--no_pbar", *flags]
    patch.setattr(sys, "argv", ["nnUNetv2_crln_plan_and_preprocess", *arguments])
    main()


def contents(root: Path) -> dict[str, str]:
    """Digest of every file, link and folder of raw and preprocessed data."""
    found = {}
    for path in sorted([*(root / "raw").rglob("*"), *(root / "preprocessed").rglob("*")]):
        if path.is_symlink():
            found[str(path)] = os.readlink(path)
        elif path.is_dir():
            found[str(path)] = "folder"
        elif not path.name.endswith(".lock"):
            mode = path.stat().st_mode
            path.chmod(mode | 0o400)
            found[str(path)] = hashlib.blake2b(path.read_bytes()).hexdigest()
            path.chmod(mode)
    return found


def refused(patch, capsys, root: Path, *flags: str) -> str:
    """Return the message of a command that must fail and change nothing."""
    before = contents(root)
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        run(patch, *flags)
    assert caught.value.code == 2
    assert contents(root) == before
    message = capsys.readouterr().err
    assert message.startswith("Error: ") and "Traceback" not in message and len(message) < 1000
    return message


def training_refused(root: Path, fold) -> str:
    before = contents(root)
    with pytest.raises(UserError) as caught:
        get_trainer_from_args(
            "999", "3d_fullres", fold, "nnUNetTrainer_CRLN_short", "nnUNetPlans", device=torch.device("cpu")
        ).on_train_start()
    assert contents(root) == before
    return str(caught.value)


def re_search(pattern: str, text: str) -> bool:
    return re.search(pattern, text, re.DOTALL) is not None

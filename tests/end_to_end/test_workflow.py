"""The README's commands on a tiny dataset, from a Decathlon folder to segmentations without this package."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from synthetic import make_case, write_image

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PLANS = "nnUNetPlans"
CONFIGURATION = "3d_fullres"
TRAINER = "nnUNetTrainer_CRLN_short"


def run(command: list[str], environment: dict[str, str], expect: int = 0) -> str:
    result = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=400,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert result.returncode == expect, f"{' '.join(command)}\n{result.stdout[-3000:]}\n{result.stderr[-3000:]}"
    return result.stdout + result.stderr


def write_decathlon_task(folder: Path, labelled: int = 8, test: int = 2) -> None:
    """Write a task in the Medical Segmentation Decathlon's layout; one label is stored as floats, as in reality."""
    rng = np.random.default_rng(0)
    for number in range(labelled + test):
        image, labels = make_case(rng, (24, 24, 24))
        name = f"organ_{number:03d}.nii.gz"
        write_image(image[0], folder / ("imagesTr" if number < labelled else "imagesTs") / name)
        if number < labelled:
            write_image(labels.astype(np.float32) if number == 0 else labels, folder / "labelsTr" / name)
    training = [
        {"image": f"./imagesTr/organ_{n:03d}.nii.gz", "label": f"./labelsTr/organ_{n:03d}.nii.gz"}
        for n in range(labelled)
    ]
    (folder / "dataset.json").write_text(
        json.dumps(
            {
                "name": "Organ",
                "description": "synthetic",
                "reference": "none",
                "licence": "none",
                "release": "1",
                "tensorImageSize": "3D",
                "modality": {"0": "MRI"},
                "labels": {"0": "background", "1": "a", "2": "b"},
                "numTraining": labelled,
                "numTest": test,
                "training": training,
                "test": [f"./imagesTs/organ_{n:03d}.nii.gz" for n in range(labelled, labelled + test)],
            }
        )
    )


def shrink_plan(path: Path) -> None:
    """Small enough for a CPU; the crln block must survive planning again (tested with the planning command)."""
    plans = json.loads(path.read_text(encoding="utf-8"))
    configuration = plans["configurations"][CONFIGURATION]
    configuration["patch_size"] = [16, 16, 16]
    configuration["batch_size"] = 2
    configuration["architecture"]["arch_kwargs"].update(
        n_stages=3,
        features_per_stage=[4, 8, 16],
        kernel_sizes=[[3, 3, 3]] * 3,
        strides=[[1, 1, 1], [2, 2, 2], [2, 2, 2]],
        n_conv_per_stage=[1, 1, 1],
        n_conv_per_stage_decoder=[1, 1],
    )
    configuration["short_schedule"] = {"num_epochs": 3, "num_iterations_per_epoch": 10}
    configuration["crln"] = {"seed": 0, "save_every": 1, "quality_cases": 2}
    path.write_text(json.dumps(plans))


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_from_decathlon_folder_to_stock_prediction(tmp_path):
    environment = {
        **os.environ,
        **{f"nnUNet_{name}": str(tmp_path / name) for name in ("raw", "preprocessed", "results")},
        "nnUNet_extTrainer": str(ROOT / "nnunetv2_crln" / "nnunet_trainers"),
        "nnUNet_n_proc_DA": "1",
        "nnUNet_def_n_proc": "1",
        "OMP_NUM_THREADS": "1",
    }
    task = tmp_path / "Task04_Organ"
    write_decathlon_task(task)
    for name in ("raw", "preprocessed", "results"):
        (tmp_path / name).mkdir()

    run([str(BIN / "nnUNetv2_convert_MSD_dataset"), "-i", str(task), "-np", "1"], environment)
    make = [sys.executable, str(ROOT / "dataset_conversion" / "make_semi_supervised.py"), "-d", "4", "-o", "104"]
    run([*make, "--num_labelled", "5", "--seed", "0"], environment)
    raw = next((tmp_path / "raw").glob("Dataset104_*"))
    dataset_json = json.loads((raw / "dataset.json").read_text(encoding="utf-8"))
    assert dataset_json["numTraining"] == 5
    assert len(list((raw / "imagesUl").iterdir())) == 3

    plan = [str(BIN / "nnUNetv2_crln_plan_and_preprocess"), "-d", "104", "-c", CONFIGURATION, "-np", "1", "-npfp", "1"]
    output = run([*plan, "--verify_dataset_integrity"], environment)
    assert "nnUNetv2_train" in output
    shrink_plan(tmp_path / "preprocessed" / raw.name / f"{PLANS}.json")

    train = [str(BIN / "nnUNetv2_train"), "104", CONFIGURATION, "0", "-tr", TRAINER, "-device", "cpu"]
    run([*train, "--npz"], environment)
    fold = tmp_path / "results" / raw.name / f"{TRAINER}__{PLANS}__{CONFIGURATION}" / "fold_0"
    checkpoint = torch.load(fold / "checkpoint_final.pth", weights_only=True)
    assert checkpoint["logging"]["crln_supervised"][-1] < checkpoint["logging"]["crln_supervised"][0]
    assert list((fold / "validation").glob("*.npz"))
    before = (fold / "checkpoint_final.pth").read_bytes()
    run([*train, "--c"], environment)  # a finished training is only validated again
    assert (fold / "checkpoint_final.pth").stat().st_size == len(before)

    images, ours, stock = str(raw / "imagesTs"), tmp_path / "ours", tmp_path / "stock"
    model = ["-d", "104", "-c", CONFIGURATION, "-f", "0", "-tr", TRAINER]
    files = ["-i", images, "-device", "cpu", "-npp", "1", "-nps", "1"]
    run([str(BIN / "nnUNetv2_predict"), *model, *files, "-o", str(ours)], environment)

    exported = tmp_path / "exported"
    run([str(BIN / "nnUNetv2_crln_export"), *model, "-o", str(exported)], environment)
    assert "exist" in run([str(BIN / "nnUNetv2_crln_export"), *model, "-o", str(exported)], environment, expect=2)
    without = (
        "import sys; sys.modules['nnunetv2_crln'] = None\n"
        "from nnunetv2.inference.predict_from_raw_data import predict_entry_point\npredict_entry_point()"
    )
    stock_environment = {**environment, "nnUNet_results": str(exported), "nnUNet_extTrainer": ""}
    run([sys.executable, "-c", without, *model, *files, "-o", str(stock)], stock_environment)
    for case in sorted(ours.glob("*.nii.gz")):
        a, b = (sitk.GetArrayFromImage(sitk.ReadImage(str(folder / case.name))) for folder in (ours, stock))
        assert np.array_equal(a, b)
    assert len(list(stock.glob("*.nii.gz"))) == 2

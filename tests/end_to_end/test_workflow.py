"""The commands that turn a Decathlon folder into a preprocessed semi-supervised dataset; test_quickstart.py goes on."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import output_of, run
from synthetic import make_case, write_image

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


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


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_from_a_decathlon_folder_to_a_plan(tmp_path):
    task = tmp_path / "Task04_Organ"
    write_decathlon_task(task)

    output_of(run([BIN / "nnUNetv2_convert_MSD_dataset", "-i", task, "-np", "1"], tmp_path))
    make = [sys.executable, ROOT / "dataset_conversion" / "make_semi_supervised.py", "-d", "4", "-o", "104"]
    output_of(run([*make, "--num_labelled", "5", "--seed", "0"], tmp_path))
    raw = next((tmp_path / "raw").glob("Dataset104_*"))
    dataset_json = json.loads((raw / "dataset.json").read_text(encoding="utf-8"))
    assert dataset_json["numTraining"] == 5
    assert len(list((raw / "imagesUl").iterdir())) == 3

    plan = [BIN / "nnUNetv2_crln_plan_and_preprocess", "-d", "104", "-c", "3d_fullres", "-np", "1", "-npfp", "1"]
    output = output_of(run([*plan, "--verify_dataset_integrity"], tmp_path))
    assert "nnUNetv2_train" in output
    assert len(list((tmp_path / "preprocessed" / raw.name).glob("nnUNetPlans_3d_fullres*/*.pkl"))) == 5 + 3

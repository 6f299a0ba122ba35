"""The demo's raw dataset and plans."""

import json

import SimpleITK as sitk

from nnunetv2_crln.demo.dataset import write_demo_dataset, write_demo_split
from nnunetv2_crln.demo.plans import write_demo_plans
from nnunetv2_crln.raw_dataset.check_names import check_dataset
from nnunetv2_crln.raw_dataset.survey import Survey


def write(folder, **options):
    return write_demo_dataset(folder, labelled=2, unlabelled=3, held_out=1, **options)


def names(folder) -> dict[str, int]:
    return {path.name: len(list(path.iterdir())) for path in folder.iterdir() if path.is_dir()}


def test_a_valid_dataset_with_hidden_labels(tmp_path):
    folder = write(tmp_path / "Dataset999_X")
    assert names(folder) == {"imagesTr": 3, "labelsTr": 3, "imagesUl": 3, "labelsUl": 3}
    assert check_dataset(folder) == []
    assert Survey(folder, processes=1, show_progress=False).duplicates() == []


def test_more_of_one_kind_leave_the_others_alone(tmp_path):
    few = write(tmp_path / "few")
    many = write_demo_dataset(tmp_path / "many", labelled=3, unlabelled=4, held_out=2)
    for name in ("imagesTr/labelled_001_0000", "imagesUl/unlabelled_002_0000", "labelsTr/held_out_000"):
        first, second = (sitk.GetArrayFromImage(sitk.ReadImage(f"{folder}/{name}.nii.gz")) for folder in (few, many))
        assert (first == second).all()


def test_the_split_holds_out_what_is_not_trained_on(tmp_path):
    labels = {path.name.split(".")[0] for path in (write(tmp_path / "Dataset999_X") / "labelsTr").iterdir()}
    write_demo_split(tmp_path, labelled=2, held_out=1)
    (fold,) = json.loads((tmp_path / "splits_final.json").read_text(encoding="utf-8"))
    assert fold == {"train": ["labelled_000", "labelled_001"], "val": ["held_out_000"]}
    assert labels == {*fold["train"], *fold["val"]}


def test_the_seed_changes_the_patients(tmp_path):
    name = "imagesTr/labelled_000_0000.nii.gz"
    first, second = (sitk.ReadImage(str(write(tmp_path / str(seed), seed=seed) / name)) for seed in (0, 1))
    assert (sitk.GetArrayFromImage(first) != sitk.GetArrayFromImage(second)).any()


def test_plans_keep_the_data_and_a_users_settings(tmp_path):
    plans = {
        "plans_name": "nnUNetPlans",
        "configurations": {
            "2d": {},
            "3d_fullres": {
                "data_identifier": "nnUNetPlans_3d_fullres",
                "patch_size": [40, 56, 40],
                "architecture": {"arch_kwargs": {"n_stages": 4, "conv_bias": True}},
                "crln": {"num_prototypes": 4},
            },
        },
    }
    (tmp_path / "nnUNetPlans.json").write_text(json.dumps(plans))
    path = write_demo_plans(tmp_path, seed=3)
    made = json.loads(path.read_text(encoding="utf-8"))
    assert path.stem == made["plans_name"] == "nnUNetPlans_demo"
    configuration = made["configurations"]["3d_fullres"]
    assert configuration["data_identifier"] == "nnUNetPlans_3d_fullres"
    assert configuration["crln"] == {"num_prototypes": 4, "seed": 3}
    assert configuration["short_schedule"]["seed"] == 3
    assert "num_epochs" not in configuration["short_schedule"]  # which the comparison adds
    kwargs = configuration["architecture"]["arch_kwargs"]
    assert kwargs["conv_bias"] is True
    lengths = {len(kwargs[key]) for key in ("features_per_stage", "kernel_sizes", "strides", "n_conv_per_stage")}
    assert lengths == {kwargs["n_stages"]}

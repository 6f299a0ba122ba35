"""New cases of a dataset that is planned and preprocessed already."""

import copy

import numpy as np
import pytest
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from synthetic import write_image
from test_unlabelled_cases import PLANS

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.layout import unlabelled_folder, unlabelled_info_file
from nnunetv2_crln.plan_and_preprocess.added_cases import (
    PreprocessedData,
    preprocess_added_labelled,
    preprocessed_data,
)
from nnunetv2_crln.preprocessed_dataset.plan_key import plan_key
from nnunetv2_crln.raw_dataset.cases import find_labelled_cases
from nnunetv2_crln.raw_dataset.folders import find_dataset
from nnunetv2_crln.utilities.json_files import read_json, write_json


def test_a_labelled_case_that_would_spoil_a_training_is_named_and_not_put_in_place(make_dataset, tmp_path, capsys):
    raw = make_dataset(shape=(16, 16, 16))
    write_image(np.full((16, 16, 16), 7, np.uint8), raw / "labelsTr" / "lab_000.nii.gz")
    write_image(np.ones((16, 16, 16), np.float32), raw / "imagesTr" / "lab_001_0000.nii.gz")
    dataset_json = read_json(raw / "dataset.json")
    data = PreprocessedData(PlansManager(PLANS), "3d_fullres", tmp_path)
    with pytest.raises(UserError, match=r"1 labelled case.*lab_000: its label holds the value\(s\) 7"):
        preprocess_added_labelled(data, find_labelled_cases(raw, dataset_json), dataset_json, 1, show_progress=False)
    assert sorted(nnUNetDatasetBlosc2.get_identifiers(str(tmp_path))) == ["lab_001", "lab_002"]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert "lab_001 (3d_fullres): the preprocessed image is constant" in capsys.readouterr().err


@pytest.mark.parametrize(("recorded", "spacing"), [("Stale", 3.0), ("nnUNetPlans", 2.0), (None, None)])
def test_of_plans_that_share_a_folder_those_that_made_it_are_taken(make_dataset, nnunet_folders, recorded, spacing):
    """As nnUNetPlans and all ResEnc plans do; "A_copy" preprocesses as nnUNetPlans and comes first."""
    name = make_dataset(shape=(16, 16, 16)).name
    folder = nnunet_folders.preprocessed / name / "nnUNetPlans_3d_fullres"
    folder.mkdir(parents=True)
    keys = {}
    for plans, last in {"A_copy": 2.0, "Stale": 3.0, "nnUNetPlans": 2.0}.items():
        content = {**copy.deepcopy(PLANS), "plans_name": plans}
        content["configurations"]["3d_fullres"]["spacing"] = [1.0, 1.0, last]
        write_json(content, folder.parent / f"{plans}.json")
        manager = PlansManager(content)
        keys[plans] = plan_key(manager, manager.get_configuration("3d_fullres"))
    if recorded is None:
        with pytest.raises(UserError, match=r"several plans.*A_copy, Stale, nnUNetPlans.*Move the outdated plans"):
            preprocessed_data(find_dataset(999))
        (folder.parent / "Stale.json").unlink()
        assert len(preprocessed_data(find_dataset(999))) == 1
    else:
        info = unlabelled_info_file(unlabelled_folder(folder.parent, folder.name))
        write_json({"plan_key": keys[recorded], "cases": []}, info)
        (data,) = preprocessed_data(find_dataset(999))
        assert data.plans_manager.plans["configurations"]["3d_fullres"]["spacing"][2] == spacing

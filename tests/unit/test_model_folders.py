"""Models in nnUNet_results."""

from nnunetv2_crln.model_folders import find_model_folder


def test_a_copy_of_a_dataset_beside_it_is_no_dataset(nnunet_folders):
    for name in ("Dataset027-backup_ACDC", "Dataset150old_Heart"):
        (nnunet_folders.results / name).mkdir()
    folder = nnunet_folders.results / "Dataset150_Heart" / "nnUNetTrainerCRLN__nnUNetPlans__3d_fullres"
    folder.mkdir(parents=True)
    assert find_model_folder(150, "nnUNetTrainerCRLN", "nnUNetPlans", "3d_fullres") == folder

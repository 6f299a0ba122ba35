"""Preprocessing of imagesUl: format, resuming, splitting, stale data."""

import copy
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class, nnUNetDatasetBlosc2
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from synthetic import write_image

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.layout import CASE_LANDMARKS, unlabelled_folder, unlabelled_info_file
from nnunetv2_crln.plan_and_preprocess.unlabelled_cases import preprocess_unlabelled
from nnunetv2_crln.preprocessed_dataset import case_files
from nnunetv2_crln.preprocessed_dataset.image_changes import image_changes
from nnunetv2_crln.preprocessed_dataset.landmarks import landmarks_of_case
from nnunetv2_crln.preprocessed_dataset.plan_key import plan_key
from nnunetv2_crln.preprocessed_dataset.unlabelled_status import unlabelled_cases_of, unlabelled_status
from nnunetv2_crln.raw_dataset.folders import DatasetFolders
from nnunetv2_crln.training.dataloading.unlabelled_dataset import open_unlabelled_dataset
from nnunetv2_crln.utilities.json_files import read_json, write_json

CASES = ["unl_000", "unl_001", "unl_002", "unl_003"]
RESAMPLING = "resample_data_or_seg_to_shape"
PLANS = {
    "dataset_name": "Dataset999_Synthetic",
    "plans_name": "nnUNetPlans",
    "image_reader_writer": "SimpleITKIO",
    "transpose_forward": [0, 1, 2],
    "transpose_backward": [0, 1, 2],
    "label_manager": "LabelManager",
    "foreground_intensity_properties_per_channel": {
        "0": {"mean": 100.0, "std": 50.0, "percentile_00_5": 0.0, "percentile_99_5": 300.0}
    },
    "configurations": {
        "3d_fullres": {
            "data_identifier": "nnUNetPlans_3d_fullres",
            "preprocessor_name": "DefaultPreprocessor",
            "batch_size": 2,
            "patch_size": [16, 16, 16],
            "spacing": [1.0, 1.0, 2.0],
            "normalization_schemes": ["ZScoreNormalization"],
            "use_mask_for_norm": [False],
            "resampling_fn_data": RESAMPLING,
            "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None},
            "resampling_fn_seg": RESAMPLING,
            "resampling_fn_seg_kwargs": {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None},
            "architecture": {},
        }
    },
}


def plans(intensity_mean=100.0, **changes):
    """Plans with one configuration; `changes` go into it."""
    content = copy.deepcopy(PLANS)
    content["configurations"]["3d_fullres"].update(changes)
    content["foreground_intensity_properties_per_channel"]["0"]["mean"] = intensity_mean
    return PlansManager(content)


@pytest.fixture
def dataset(make_dataset, nnunet_folders):
    """Raw and (empty) preprocessed folder."""
    raw = make_dataset(shape=(16, 16, 16))
    preprocessed = nnunet_folders.preprocessed / raw.name
    preprocessed.mkdir()
    return raw, preprocessed


def preprocess(dataset, plans_manager=None, **options):
    return preprocess_unlabelled(*dataset, plans_manager or plans(), "3d_fullres", show_progress=False, **options)


def folder_of(dataset):
    return unlabelled_folder(dataset[1], "nnUNetPlans_3d_fullres")


def load(dataset, case):
    data, seg, _, properties = nnUNetDatasetBlosc2(str(folder_of(dataset))).load_case(case)
    return data[:], seg[:], properties


def test_nnunet_reads_the_result(dataset):
    image = np.full((16, 16, 16), 5.0, np.float32)
    image[:4] = 0  # cropped away
    image[8, 8, 8] = 9
    write_image(image, dataset[0] / "imagesUl" / "unl_002_0000.nii.gz")
    result = preprocess(dataset)
    assert (sorted(result.done), result.kept, result.failed) == (CASES, [], {})
    assert infer_dataset_class(str(folder_of(dataset))) is nnUNetDatasetBlosc2
    assert sorted(nnUNetDatasetBlosc2.get_identifiers(str(folder_of(dataset)))) == CASES
    data, seg, properties = load(dataset, "unl_002")
    assert data.shape == seg.shape == (1, 12, 16, 8) and data.dtype == np.float32
    assert abs(data.mean()) < 0.1
    assert properties["shape_before_cropping"] == (16, 16, 16)
    # A training computes the same from cases that do not have them.
    assert np.array_equal(properties[CASE_LANDMARKS], landmarks_of_case(data, seg))
    assert not [path for path in folder_of(dataset).iterdir() if path.is_dir()]


def test_same_voxels_as_for_a_labelled_case(dataset):
    raw, preprocessed = dataset
    shutil.copy(raw / "imagesTr" / "lab_000_0000.nii.gz", raw / "imagesUl" / "unl_000_0000.nii.gz")
    preprocess(dataset)
    manager = plans()
    configuration = manager.get_configuration("3d_fullres")
    stock = configuration.preprocessor_class(verbose=False)
    image, label = str(raw / "imagesTr/lab_000_0000.nii.gz"), str(raw / "labelsTr/lab_000.nii.gz")
    labels = {"labels": {"background": 0, "a": 1, "b": 2}}
    stock.run_case_save(str(preprocessed / "stock"), [image], label, manager, configuration, labels)
    expected = nnUNetDatasetBlosc2(str(preprocessed)).load_case("stock")[0]
    found = nnUNetDatasetBlosc2(str(folder_of(dataset))).load_case("unl_000")[0]
    np.testing.assert_array_equal(found[:], expected[:])
    assert (found.chunks, found.blocks) == (expected.chunks, expected.blocks)


def test_what_was_removed_is_said(dataset):
    preprocess(dataset)
    (dataset[0] / "imagesUl" / "unl_002_0000.nii.gz").unlink()
    assert preprocess(dataset).describe("3d_fullres").splitlines() == [
        "3d_fullres: removed 1 case(s) whose images left imagesUl: unl_002.",
        "3d_fullres: 0 unlabelled cases preprocessed, 3 already there.",
    ]


def test_outside_of_nonzero_region_is_marked(dataset):
    image = np.full((16, 16, 16), 5.0, np.float32)
    image[:8, :8, :] = 0  # a corner, so the box keeps it
    write_image(image, dataset[0] / "imagesUl" / "unl_000_0000.nii.gz")
    preprocess(dataset)
    seg = load(dataset, "unl_000")[1]
    assert set(np.unique(seg)) == {-1, 0}
    assert (seg[0, :8, :8] == -1).all()


def test_second_run_keeps_all_and_clean_redoes_all(dataset):
    preprocess(dataset)
    assert preprocess(dataset).kept == CASES
    assert sorted(preprocess(dataset, clean=True).done) == CASES


@pytest.mark.parametrize("suffix", ["_seg.b2nd", ".pkl", ".b2nd"])
def test_incomplete_case_is_done_again(dataset, suffix):
    preprocess(dataset)
    (folder_of(dataset) / f"unl_001{suffix}").unlink()
    assert preprocess(dataset).done == ["unl_001"]


def test_damaged_properties_are_done_again(dataset):
    preprocess(dataset)
    (folder_of(dataset) / "unl_001.pkl").write_bytes(b"")
    assert preprocess(dataset).done == ["unl_001"]


def test_killed_run_leaves_no_half_case_and_resumes(dataset, monkeypatch):
    def interrupt(source, target):
        if str(target).endswith("unl_002.b2nd"):
            raise KeyboardInterrupt
        replace(source, target)

    replace = case_files.os.replace
    monkeypatch.setattr(case_files.os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        preprocess(dataset)
    monkeypatch.setattr(case_files.os, "replace", replace)
    assert sorted(nnUNetDatasetBlosc2.get_identifiers(str(folder_of(dataset)))) == ["unl_000", "unl_001"]
    status = unlabelled_status(dataset[1], plans(), "3d_fullres")
    assert (status.ready, status.missing) == (["unl_000", "unl_001"], ["unl_002", "unl_003"])
    result = preprocess(dataset)
    assert (result.kept, result.done) == (["unl_000", "unl_001"], ["unl_002", "unl_003"])


def changes_of(dataset):
    raw, preprocessed = dataset
    folders = DatasetFolders(raw.name, raw, preprocessed)
    return image_changes(folders, unlabelled_status(preprocessed, plans(), "3d_fullres"), plans(), "3d_fullres")


@pytest.mark.parametrize("kind", ["added", "gone", "replaced"])
def test_what_has_changed_in_images_ul_since_then_is_named(dataset, kind):
    preprocess(dataset)
    assert changes_of(dataset).texts == []
    image = dataset[0] / "imagesUl" / "unl_001_0000.nii.gz"
    if kind == "added":
        shutil.copyfile(image, image.with_name("by_hand_0000.nii.gz"))
    elif kind == "gone":
        image.unlink()
    else:
        shutil.copyfile(image.with_name("unl_002_0000.nii.gz"), image)
    (text,) = changes_of(dataset).texts
    assert text == getattr(changes_of(dataset), kind)
    assert ("by_hand" if kind == "added" else "unl_001") in text
    assert "nnUNetv2_crln_plan_and_preprocess -d 999 -c 3d_fullres" in text and "--unlabelled_only" in text
    preprocess(dataset)  # what the text advises
    assert changes_of(dataset).texts == []


def test_a_training_warns_of_scans_that_were_copied_by_hand_but_needs_no_raw_data(dataset):
    preprocess(dataset)
    image = dataset[0] / "imagesUl" / "unl_001_0000.nii.gz"
    shutil.copyfile(image, image.with_name("by_hand_0000.nii.gz"))
    printed = []
    opened = open_unlabelled_dataset(dataset[1], plans(), "3d_fullres", [], printed.append)
    assert sorted(opened.identifiers) == CASES
    (line,) = printed
    assert line.startswith("WARNING: ") and "by_hand" in line and "--unlabelled_only" in line
    shutil.rmtree(dataset[0])
    assert open_unlabelled_dataset(dataset[1], plans(), "3d_fullres", [], printed.append) and len(printed) == 1


def test_a_dataset_without_unlabelled_cases_is_told_how_to_come_to_some(dataset):
    shutil.rmtree(dataset[0] / "imagesUl")
    preprocess(dataset)
    folders = DatasetFolders(dataset[0].name, *dataset)
    message = "has 0 unlabelled cases: .*nnUNetv2_crln_add_unlabelled -d 999 .*nnUNetv2_crln_hide_labels -d 999 -o"
    with pytest.raises(UserError, match=message):
        unlabelled_cases_of(folders, plans(), "3d_fullres")
    with pytest.raises(UserError, match=message):
        open_unlabelled_dataset(dataset[1], plans(), "3d_fullres", [], print)
    assert not open_unlabelled_dataset(dataset[1], plans(), "3d_fullres", [], print, may_be_none=True).identifiers


def test_parts_are_disjoint_and_complete(dataset):
    (folder_of(dataset) / "incomplete_0_of_3").mkdir(parents=True)  # of a part that runs elsewhere
    parts = [preprocess(dataset, num_parts=3, part_id=part).done for part in (2, 0, 1)]
    assert parts == [["unl_002"], ["unl_000", "unl_003"], ["unl_001"]]
    assert preprocess(dataset).kept == CASES


@pytest.mark.parametrize(
    "changed",
    [
        {"spacing": [2.0, 2.0, 2.0]},
        {"normalization_schemes": ["CTNormalization"]},
        {"use_mask_for_norm": [True]},
        {"resampling_fn_data_kwargs": {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}},
    ],
)
def test_other_plan_is_stale_and_never_mixed(dataset, changed):
    preprocess(dataset)
    other = plans(**changed)
    status = unlabelled_status(dataset[1], other, "3d_fullres")
    assert (status.ready, status.stale) == ([], CASES)
    assert sorted(preprocess(dataset, other).done) == CASES
    assert unlabelled_status(dataset[1], other, "3d_fullres").ready == CASES


def test_key_ignores_what_does_not_change_images():
    def key(**changes):
        manager = plans(**changes)
        return plan_key(manager, manager.get_configuration("3d_fullres"))

    assert key() == key(patch_size=[8, 8, 8], batch_size=9, crln={"seed": 1}) == key(intensity_mean=7.0)
    ct = ["CTNormalization"]
    assert key(normalization_schemes=ct) != key(normalization_schemes=ct, intensity_mean=7.0)


def test_replaced_and_removed_images(dataset):
    preprocess(dataset)
    write_image(np.ones((8, 8, 8), np.float32), dataset[0] / "imagesUl" / "unl_000_0000.nii.gz")
    (dataset[0] / "imagesUl" / "unl_001_0000.nii.gz").unlink()
    result = preprocess(dataset)
    assert (result.done, result.removed) == (["unl_000"], ["unl_001"])
    assert not list(folder_of(dataset).glob("unl_001*"))


def test_bad_cases_do_not_lose_the_others(make_dataset, nnunet_folders):
    raw = make_dataset(shape=(16, 16, 16), file_ending=".nrrd")
    (raw / "imagesUl" / "unl_000_0000.nrrd").write_bytes(b"no image")
    write_image(np.full((8, 8, 8), np.nan, np.float32), raw / "imagesUl" / "unl_001_0000.nrrd")
    result = preprocess((raw, nnunet_folders.preprocessed / raw.name))
    assert result.done == ["unl_002", "unl_003"]
    assert "NaN or infinite" in result.failed["unl_001"]
    assert list(result.failed) == ["unl_000", "unl_001"]


def test_hidden_labels_are_never_opened(dataset):
    for file in (dataset[0] / "labelsUl").iterdir():
        file.write_bytes(b"garbage")
    assert preprocess(dataset).failed == {}


@pytest.mark.slow
def test_two_processes(dataset):
    assert sorted(preprocess(dataset, processes=2).done) == CASES


def test_status_before_any_preprocessing(dataset):
    with pytest.raises(
        UserError,
        match=r"Run: nnUNetv2_crln_plan_and_preprocess -d 999 .* --unlabelled_only",
    ):
        unlabelled_status(dataset[1], plans(), "3d_fullres")


def test_info_file_lies_beside_the_folder(dataset):
    preprocess(dataset)
    assert unlabelled_info_file(folder_of(dataset)).parent == dataset[1]


@pytest.mark.parametrize(("found", "expected"), [(2, 1), (1, 2)])
def test_an_image_with_another_number_of_channels_is_named(dataset, found, expected):
    raw = dataset[0]
    write_json(
        {**read_json(raw / "dataset.json"), "channel_names": {str(c): "MRI" for c in range(expected)}},
        raw / "dataset.json",
    )
    rng = np.random.default_rng(0)
    for path in (raw / "imagesUl").iterdir():
        channels = found if path.name.startswith("unl_000") else expected
        volume = rng.normal(size=(channels, 16, 16, 16)).astype(np.float32)  # all channels in one file
        sitk.WriteImage(sitk.GetImageFromArray(volume if channels > 1 else volume[0], isVector=False), str(path))
    changes = {"normalization_schemes": ["ZScoreNormalization"] * expected, "use_mask_for_norm": [False] * expected}
    plans_manager = plans(**changes)
    intensities = plans_manager.foreground_intensity_properties_per_channel
    intensities["1"] = intensities["0"]
    result = preprocess(dataset, plans_manager)
    assert list(result.failed) == ["unl_000"] and len(result.done) == 3
    assert f"has {found} channel(s), dataset.json names {expected}: convert it" in result.failed["unl_000"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("no array")])
def test_a_full_disk_is_not_blamed_on_the_images(dataset, monkeypatch, error):
    def full(*_, **__):
        raise error

    monkeypatch.setattr(case_files.nnUNetDatasetBlosc2, "save_case", full)
    result = preprocess(dataset)
    assert len(result.failed) == 4
    assert all("is the disk full?" in text and "cannot be written" in text for text in result.failed.values())

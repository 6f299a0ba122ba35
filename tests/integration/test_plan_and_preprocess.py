"""nnUNetv2_crln_plan_and_preprocess on a tiny dataset, with nnU-Net's own steps."""

import argparse
import contextlib
import io
import json
import os
import shutil
from types import SimpleNamespace

import pytest
from nnunetv2.experiment_planning.plan_and_preprocess_api import preprocess
from nnunetv2.experiment_planning.plan_and_preprocess_entrypoints import plan_and_preprocess_entry
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from synthetic import write_dataset

from nnunetv2_crln.cli.plan_and_preprocess import build_parser, command, main
from nnunetv2_crln.doctor.dataset import examine_dataset
from nnunetv2_crln.doctor.finding import PROBLEM
from nnunetv2_crln.errors import UserError
from nnunetv2_crln.plan_and_preprocess import pipeline
from nnunetv2_crln.preprocessed_dataset.labelled_status import require_labelled_data
from nnunetv2_crln.utilities.files import remove_leftovers

NAME = "Dataset999_Synthetic"
QUICK = ["-d", "999", "-npfp", "1", "-np", "1", "--no_pbar"]
CASES = ["unl_000", "unl_001", "unl_002", "unl_003"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Make a dataset and run the command once. Its hidden labels are garbage: opening one would fail the run."""
    root = tmp_path_factory.mktemp("finished")
    raw = write_dataset(root / "raw")
    for file in (raw / "labelsUl").iterdir():
        file.write_bytes(b"garbage")
    output = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(output):
        set_folders(patch, root)
        command([*QUICK, "-c", "2d", "3d_fullres", "3d_lowres"])
    return SimpleNamespace(root=root, output=output.getvalue())


@pytest.fixture
def dataset(finished, tmp_path, monkeypatch):
    """Raw and preprocessed folder of a private copy of the finished dataset."""
    shutil.copytree(finished.root, tmp_path / "copy")
    set_folders(monkeypatch, tmp_path / "copy")
    return tmp_path / "copy" / "raw" / NAME, tmp_path / "copy" / "preprocessed" / NAME


def set_folders(patch, root):
    for key in ("raw", "preprocessed", "results"):
        (root / key).mkdir(exist_ok=True)
        patch.setenv(f"nnUNet_{key}", str(root / key))
    patch.delenv("nnUNet_extTrainer", raising=False)


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def cases_in(folder):
    return sorted(nnUNetDatasetBlosc2.get_identifiers(str(folder)))


def test_everything_is_there(finished):
    folder = finished.root / "preprocessed" / NAME
    for configuration in ("2d", "3d_fullres"):
        assert cases_in(folder / f"nnUNetPlans_{configuration}") == ["lab_000", "lab_001", "lab_002"]
        assert cases_in(folder / f"nnUNetPlans_{configuration}_unlabelled") == CASES
    assert len(read(folder / "dataset_fingerprint.json")["spacings"]) == 7
    assert remove_leftovers(folder) == []


def test_summary(finished):
    for text in (
        "Skipping 3d_lowres: not in the plans",
        "3d_fullres: 4 unlabelled cases preprocessed, 0 already there",
        "3 labelled and 4 unlabelled cases",
        "patch 24 × 24 × 24, batch 2 labelled + 2 unlabelled",
        "up to about 16 GB, 2.0 times that of plain nnU-Net",
        "3 labelled cases are too few for nnU-Net's 5 folds",
        "  nnUNetv2_train 999 3d_fullres all -tr nnUNetTrainer\n",
        "  nnUNetv2_train 999 3d_fullres all -tr nnUNetTrainer_CRLN -pretrained_weights $nnUNet_results/",
    ):
        assert text in finished.output


def test_planning_again_keeps_what_the_user_wrote(dataset, capsys):
    plans_file = dataset[1] / "nnUNetPlans.json"
    plans = read(plans_file)
    plans["configurations"]["3d_fullres"]["crln"] = {"unlabelled_batch_size": 1}
    plans["configurations"]["mine"] = {"inherits_from": "3d_fullres", "batch_size": 3, "crln": {"seed": 1}}
    plans_file.write_text(json.dumps(plans))
    (dataset[1] / "splits_final.json").write_text('[{"train": ["lab_000", "lab_001"], "val": ["lab_002"]}]')
    fingerprint = read(dataset[1] / "dataset_fingerprint.json")
    command([*QUICK, "--no_pp", "-c", "3d_fullres", "mine"])
    assert read(plans_file) == plans
    assert read(dataset[1] / "dataset_fingerprint.json") == fingerprint
    output = capsys.readouterr().out
    assert "  nnUNetv2_train 999 3d_fullres 0 -tr nnUNetTrainer_CRLN -pretrained_weights " in output
    assert "nnUNetTrainer__nnUNetPlans__3d_fullres/fold_0/checkpoint_final.pth" in output
    assert 'Kept your "crln" block of 3d_fullres in nnUNetPlans.json' in output
    assert "3d_fullres: patch 24 × 24 × 24, batch 2 labelled + 1 unlabelled" in output
    assert "mine: patch 24 × 24 × 24, batch 3 labelled + 3 unlabelled" in output


@pytest.mark.parametrize("killed_in", ["planning", "preprocessing"])
def test_labelled_data_that_a_killed_command_did_not_come_to_are_refused(dataset, monkeypatch, killed_in):
    def killed(*_, **__):
        raise KeyboardInterrupt

    plans = PlansManager(read(dataset[1] / "nnUNetPlans.json"))
    data = dataset[1] / "nnUNetPlans_3d_fullres"
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "plan_experiments" if killed_in == "planning" else "preprocess", killed)
        with pytest.raises(KeyboardInterrupt):
            command([*QUICK, "-c", "2d", "3d_fullres"])
    with pytest.raises(UserError, match=r"3d_fullres was not preprocessed with .*interrupted.*nnUNetv2_preprocess"):
        require_labelled_data(data, plans, "3d_fullres")
    assert cases_in(data) == ["lab_000", "lab_001", "lab_002"]  # stock nnU-Net is not hindered
    preprocess([999], "nnUNetPlans", ["3d_fullres"], [1], show_progress_bar=False)  # what the message advises
    require_labelled_data(data, plans, "3d_fullres")


def test_unlabelled_cases_alone_cannot_follow_a_changed_normalisation(dataset):
    plans_file = dataset[1] / "nnUNetPlans.json"
    command([*QUICK, "-c", "3d_fullres"])
    plans = read(plans_file)
    plans["configurations"]["3d_fullres"]["normalization_schemes"] = ["RescaleTo01Normalization"]
    plans_file.write_text(json.dumps(plans))
    refusal = r"was not preprocessed with the present nnUNetPlans.json: .*normalisation.*Run: nnUNetv2_preprocess .*"
    with pytest.raises(UserError, match=refusal + "and then: nnUNetv2_crln_plan_and_preprocess .*--unlabelled_only"):
        command(["-d", "999", "-c", "3d_fullres", "--unlabelled_only", "-np", "1"])
    preprocess([999], "nnUNetPlans", ["3d_fullres"], [1], show_progress_bar=False)  # what the message advises
    command(["-d", "999", "-c", "3d_fullres", "--unlabelled_only", "-np", "1"])


def test_refused_planning_leaves_the_data_usable(dataset, monkeypatch):
    def refused(*_, **__):
        raise ValueError("no plans for these")

    monkeypatch.setattr(pipeline, "plan_experiments", refused)
    with pytest.raises(UserError):
        command([*QUICK, "-c", "2d", "3d_fullres"])
    plans = PlansManager(read(dataset[1] / "nnUNetPlans.json"))
    require_labelled_data(dataset[1] / "nnUNetPlans_3d_fullres", plans, "3d_fullres")


def test_small_plans_follow_the_plans_whose_data_they_share(dataset):
    command([*QUICK, "--no_pp", "-c", "3d_fullres", "--small"])
    small = dataset[1] / "nnUNetPlans_small.json"
    content = read(small)
    content["configurations"]["3d_fullres"]["crln"] = {"seed": 3}
    small.write_text(json.dumps(content))
    command([*QUICK, "--no_pp", "-c", "3d_fullres", "-overwrite_target_spacing", "2", "2", "2"])
    assert read(small)["configurations"]["3d_fullres"]["spacing"] == [2, 2, 2]
    assert read(small)["configurations"]["3d_fullres"]["crln"] == {"seed": 3}


def test_other_planner_and_plans_name(dataset, capsys):
    command([*QUICK, "--no_pp", "-c", "3d_fullres", "-pl", "nnUNetPlannerResEncM", "-overwrite_plans_name", "Mine"])
    assert (dataset[1] / "Mine.json").is_file()
    assert "-tr nnUNetTrainer_CRLN -p Mine" in capsys.readouterr().out


def test_moving_a_labelled_case_hides_its_label(dataset, capsys):
    raw, preprocessed = dataset
    shutil.move(raw / "imagesTr" / "lab_000_0000.nii.gz", raw / "imagesUl")
    (raw / "labelsTr" / "lab_000.nii.gz").unlink()
    content = read(raw / "dataset.json")
    (raw / "dataset.json").write_text(json.dumps({**content, "numTraining": 2}))
    before = read(preprocessed / "dataset_fingerprint.json")
    command([*QUICK, "--no_pp", "--verify_dataset_integrity"])
    after = read(preprocessed / "dataset_fingerprint.json")
    assert "extracting their fingerprint again" in capsys.readouterr().out
    assert len(after["spacings"]) == 7
    assert list(after["crln"]["unlabelled"]) == ["lab_000", *CASES]
    key = "foreground_intensity_properties_per_channel"
    assert after[key] != before[key]


def test_unlabelled_only_continues_and_splits(dataset, capsys):
    folder = dataset[1] / "nnUNetPlans_3d_fullres_unlabelled"
    labelled = dataset[1] / "nnUNetPlans_3d_fullres" / "lab_000.b2nd"
    written = labelled.stat().st_mtime_ns
    (folder / "unl_001.b2nd").unlink()
    only = [*QUICK, "-c", "3d_fullres", "--unlabelled_only", "--num_parts", "2", "--part_id"]
    command([*only, "0"])
    assert cases_in(folder) == ["unl_000", "unl_002", "unl_003"]
    assert "0 unlabelled cases preprocessed, 2 already there" in capsys.readouterr().out
    command([*only, "1"])
    assert cases_in(folder) == CASES
    output = capsys.readouterr().out
    assert "1 unlabelled cases preprocessed, 1 already there" in output
    assert "training needs parts 0 too" in output
    assert labelled.stat().st_mtime_ns == written  # looked at, but not made again


def test_a_case_that_was_labelled_by_hand_is_not_forgotten(dataset, capsys):
    raw, preprocessed = dataset
    shutil.move(raw / "imagesUl" / "unl_000_0000.nii.gz", raw / "imagesTr")
    shutil.copy(raw / "labelsTr" / "lab_000.nii.gz", raw / "labelsTr" / "unl_000.nii.gz")
    (raw / "dataset.json").write_text(json.dumps({**read(raw / "dataset.json"), "numTraining": 4}))
    with pytest.raises(
        UserError, match=r"1 labelled case.* for 3d_fullres.*: unl_000\. Run: nnUNetv2_preprocess -d 999"
    ):
        command([*QUICK, "-c", "3d_fullres", "--unlabelled_only"])
    assert cases_in(preprocessed / "nnUNetPlans_3d_fullres_unlabelled") == CASES[1:]
    assert "3d_fullres: removed 1 case(s) whose images left imagesUl: unl_000." in capsys.readouterr().out
    found = [finding.found for finding in examine_dataset(999) if finding.state == PROBLEM]
    assert [text for text in found if "1 labelled case(s) are not preprocessed for 3d_fullres" in text]


def test_configurations_with_the_same_data_are_done_once(dataset, capsys):
    plans = read(dataset[1] / "nnUNetPlans.json")
    plans["configurations"]["mine"] = {"inherits_from": "3d_fullres", "batch_size": 3}
    (dataset[1] / "nnUNetPlans.json").write_text(json.dumps(plans))
    block = {"unlabelled_groups": {"a": "unl_*"}}
    (dataset[0] / "dataset.json").write_text(json.dumps({**read(dataset[0] / "dataset.json"), "crln": block}))
    command([*QUICK, "-c", "3d_fullres", "mine", "--unlabelled_only"])
    assert read(dataset[1] / "dataset.json")["crln"] == block, "trainings read this copy"
    assert "mine uses the data of 3d_fullres" in capsys.readouterr().out


def test_bad_case_is_reported_at_the_end(dataset, capsys):
    raw, preprocessed = dataset
    (raw / "imagesUl" / "unl_000_0000.nii.gz").write_bytes(b"no image")
    (preprocessed / "nnUNetPlans_2d_unlabelled" / "unl_003.b2nd").unlink()
    with pytest.raises(UserError, match=r"1 case\(s\) could not .*unl_000_0000\.nii\.gz \(2d\)"):
        command([*QUICK, "-c", "2d", "--unlabelled_only"])
    # The old result of a now broken image is gone, all others are complete.
    assert cases_in(preprocessed / "nnUNetPlans_2d_unlabelled") == CASES[1:]
    assert "Failed: unl_000_0000.nii.gz (2d)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--num_parts", "2", "--part_id", "2"], "expected 0 <= part_id < num_parts"),
        (["--num_parts", "2", "--part_id", "1"], "--part_id 1 needs --unlabelled_only"),
        (["--unlabelled_only", "--no_pp"], "nothing to do"),
        (["-c", "2d", "3d_fullres", "3d_lowres", "-np", "1", "2"], "-np has 2 numbers, -c has 3"),
        (["-overwrite_target_spacing", "1", "1"], "expected three numbers above 0"),
        (["-pl", "Planer"], "-pl Planer: nnU-Net has no such class"),
        (["-fpe", "Nothing"], "-fpe Nothing"),
        (["-preprocessor_name", "Nothing"], "-preprocessor_name Nothing"),
        (["-d", "7"], "No folder Dataset007"),
        (["--unlabelled_only", "-overwrite_plans_name", "None"], r"None\.json does not exist: .* needs finished plans"),
        (["--unlabelled_only", "-c", "4d"], r"none of the configurations 4d \(-c\)\. They have: 2d, 3d_fullres"),
    ],
)
def test_wrong_arguments_are_refused_at_once(finished, monkeypatch, flags, message):
    set_folders(monkeypatch, finished.root)
    with pytest.raises(UserError, match=message):
        command([*QUICK, *flags])


def test_unknown_flags_are_errors(capsys):
    with pytest.raises(SystemExit, match="2"):
        command(["-d", "1", "--unlabeled_only"])
    assert "unrecognized arguments: --unlabeled_only" in capsys.readouterr().err


def test_mistakes_end_with_status_2_and_no_traceback(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["nnUNetv2_crln_plan_and_preprocess", "-d", "1"])
    monkeypatch.delenv("nnUNet_raw", raising=False)
    with pytest.raises(SystemExit, match="2"):
        main()
    assert capsys.readouterr().err.startswith("Error: The environment variable nnUNet_raw is not set.")


def test_all_flags_of_nnunet_with_its_defaults(monkeypatch):
    class Parsed(Exception):
        """Carries nnU-Net's parser out of its command."""

    def stop(parser, *_):
        raise Parsed(parser)

    with monkeypatch.context() as patch, pytest.raises(Parsed) as caught:
        patch.setattr(argparse.ArgumentParser, "parse_args", stop)
        plan_and_preprocess_entry()

    def flags(parser):
        return {a.option_strings[-1]: (a.default, a.nargs, kind_of_value(a)) for a in parser._actions}

    def kind_of_value(action):
        return type(action.type("3")) if action.type else str  # ours also refuse values that make no sense

    # At most one process per core: with many cores the default is nnU-Net's.
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    stock, ours = flags(caught.value.args[0]), flags(build_parser())
    ours["-d"] = stock["-d"]  # ours takes names as well as numbers
    assert {flag: ours.get(flag) for flag in stock} == stock

"""The report from files alone: tables, comparison, names that are not HTML, damaged and missing files."""

import html
import json
import math
import re
import shlex

import numpy as np
import pytest
import torch

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.evaluation.metrics import METRICS
from nnunetv2_crln.layout import DOMAIN_FILE, GROUP_CURVES_FILE
from nnunetv2_crln.model_folders import find_folds
from nnunetv2_crln.reporting.answers import did_it_help, pseudo_labels
from nnunetv2_crln.reporting.blocks import Paragraph, Table, code, render_page
from nnunetv2_crln.reporting.fold import find_overlays, read_fold
from nnunetv2_crln.reporting.paired_scores import PairedFold
from nnunetv2_crln.reporting.progress_png import save_progress_png
from nnunetv2_crln.reporting.report import build_report
from nnunetv2_crln.reporting.section_training import chosen_epochs
from nnunetv2_crln.utilities.json_files import write_json_with_nulls

NASTY = "<script>alert('x')</script>"
STATISTICS = {"mean": 0.9, "sd": 0.01, "ci_low": 0.88, "ci_high": 0.92, "n": 4, "n_nan": 1}


def write_model(root, trainer="nnUNetTrainer_CRLN", fold="fold_0", dice=0.9, stock=False):
    """Write the files of a training, as small as possible."""
    model = root / f"{trainer}__nnUNetPlans__with__underscores__3d_lowres"
    folder = model / fold
    (folder / "validation").mkdir(parents=True)
    configuration = {"patch_size": [16, 32, 32], "spacing": [3, 1, 1], "batch_size": 2, "crln": {"cps_weight": 0.2}}
    plans = {
        "dataset_name": f"Dataset001_{NASTY}",
        "plans_name": "nnUNetPlans",
        "configurations": {
            "3d_fullres": configuration,
            "3d_lowres": {"inherits_from": "3d_fullres", "spacing": [6, 2, 2]},
        },
    }
    (model / "plans.json").write_text(json.dumps(plans))
    labels = {"background": 0, "organ & co": 1}
    (model / "dataset.json").write_text(
        json.dumps({"labels": labels, "numTraining": 7, "channel_names": {"0": "CT"}, "file_ending": ".nii.gz"})
    )
    number = np.float32 if stock else float  # nnU-Net's own checkpoints hold numpy's numbers
    curves = {} if stock else {"crln_mu": [0.1, 0.2]}
    logging = {
        "ema_fg_dice": [number(0.5), number(dice)],
        "val_losses": [number(0.1), number(0)],
        "epoch_start_timestamps": [0.0, 10.0, 20.0],
        "epoch_end_timestamps": [10.0, 20.0],
        **curves,
    }
    torch.save({"logging": logging, "network_weights": {}}, folder / "checkpoint_final.pth")
    cases = [
        {"reference_file": f"/x/case_{i}.nii.gz", "metrics": {"1": {"Dice": dice + 0.01 * i, "IoU": 0.5}}}
        for i in range(6)
    ]
    mean = {"Dice": dice, "IoU": 0.5}
    (folder / "validation" / "summary.json").write_text(
        json.dumps({"metric_per_case": cases, "mean": {"1": mean}, "foreground_mean": mean})
    )
    return model


def write_evaluation(path, factor=1.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    cases = {
        f"case_{i}": {
            "metrics": {"organ": {**{m.key: factor * (0.5 + 0.06 * i) for m in METRICS}, "n_ref": 1, "n_pred": 1}}
        }
        for i in range(6)
    }
    tests = {m.key: STATISTICS for m in METRICS}
    write_json_with_nulls(
        {
            "format_version": 1,
            "predictions_folder": str(path.parent),
            "classes": {"organ": [1]},
            "num_cases": 6,
            "bootstrap": {"resamples": 100},
            "cases": cases,
            "mean": {"organ": tests},
            "foreground_mean": tests,
        },
        path,
    )


def quality(cases: int) -> dict:
    values = {"foreground_confidence": 0.9, "unsure_share": 0.1, "foreground_share": 0.2}
    return {
        "epoch": 9,
        "confidence_threshold": 0.95,
        "num_unlabelled": 50,
        "cases": {
            f"case<{i:02d}>": {**values, "expected_dice": None if i == 0 else 0.5 + 0.01 * i, "dice": 0.4 + 0.01 * i}
            for i in range(cases)
        },
    }


def test_facts_of_an_inherited_configuration_and_a_plan_name_with_underscores(tmp_path):
    page = build_report(write_model(tmp_path))
    for expected in (
        "16 × 32 × 32 voxels",
        "6 × 2 × 2 mm",
        "cps_weight = 0.2",
        "3d_lowres of nnUNetPlans",
        "7 labelled",
    ):
        assert expected in page
    assert "2 of ? epochs (checkpoint_final.pth), median 10.0 s an epoch" in page


def test_names_cannot_become_html(tmp_path):
    page = build_report(write_model(tmp_path))
    assert "<script" not in page and "&lt;script&gt;" in page and "organ &amp; co" in page


def test_nothing_is_loaded_from_outside(tmp_path):
    page = build_report(write_model(tmp_path))
    assert "default-src &#x27;none&#x27;" in page or "default-src 'none'" in page
    assert "http://" not in page and "https://" not in page


def test_a_stock_baseline_with_numpy_numbers_is_compared(tmp_path):
    model = write_model(tmp_path)
    baseline = write_model(tmp_path, "nnUNetTrainer", dice=0.8, stock=True)
    page = build_report(model, baseline)
    assert "Comparison with nnUNetTrainer (fold_0)" in page
    assert "0.100" in page  # the difference of the validation Dice
    assert "Validation curves of both trainings" in page


def test_evaluations_are_found_shown_and_compared(tmp_path):
    model, baseline = write_model(tmp_path), write_model(tmp_path, "nnUNetTrainer")
    for folder, factor in ((model, 1.0), (baseline, 0.5)):
        write_evaluation(folder / "fold_0" / "validation" / "summary_crln.json", factor)
        write_evaluation(folder.with_name(f"{folder.name}_test") / "summary_crln.json", factor)
    test, baseline_test = (f.with_name(f"{f.name}_test") / "summary_crln.json" for f in (model, baseline))
    page = build_report(model, baseline, [test], [baseline_test])
    assert page.count("90.00 ± 1.00 (1)") == 8  # Dice and Jaccard, class and mean, two evaluations
    assert page.count("Evaluation of validation") == 2
    assert page.count("32.50") >= 2  # half of the mean Dice of 65 %


def test_ranked_cases_show_what_was_not_found_and_how_far_to_trust_them(tmp_path):
    model = write_model(tmp_path)
    write_json_with_nulls(quality(20), model / "fold_0" / "pseudo_label_quality.json")
    page = build_report(model).split("The scans worth annotating next")[1]
    assert page.index("nothing found") < page.index("case&lt;01&gt;")
    assert "The other 5 cases" in page
    assert "hidden label: 1.00 (19 cases" in page


def test_groups_of_unlabelled_cases_are_described_and_far_ones_come_first(tmp_path):
    fold = write_model(tmp_path) / "fold_0"
    texts = ["B (4 cases) is far from the labelled cases: spacing", "A (3 cases): like the labelled cases"]
    groups = [{"group": text[0], "far": text[0] == "B", "text": text} for text in texts]
    (fold / DOMAIN_FILE).write_text(json.dumps({"format_version": 1, "groups": groups}))
    page = build_report(fold.parent)
    assert "Labelled against unlabelled cases" in page and page.count(texts[0]) == 2 and texts[1] in page
    curves = {name: {"monitor_confidence": [[0, 0.5], [1, 0.6]]} for name in "AB"}
    (fold / GROUP_CURVES_FILE).write_text(json.dumps({"format_version": 1, "groups": curves}))
    assert build_report(fold.parent).count("data:image/png") == page.count("data:image/png") + 1


def test_all_folds_of_a_trainer_folder_are_reported(tmp_path):
    model = write_model(tmp_path)
    (model / "fold_all").mkdir()
    assert [path.name for path in find_folds(model)] == ["fold_0", "fold_all"]
    assert find_folds(model / "fold_0") == [(model / "fold_0").resolve()]
    page = build_report(model)
    assert "no epoch finished" in page and "No checkpoint with a log was found." in page


def test_a_renamed_model_has_its_own_trainer_and_configuration(tmp_path):
    model = write_model(tmp_path)
    path = model / "fold_0" / "checkpoint_final.pth"
    before = read_fold(path.parent)
    names = {"trainer_name": before.trainer, "init_args": {"configuration": before.configuration}}
    torch.save({**torch.load(path, weights_only=False), **names}, path)
    renamed = read_fold(model.rename(model.with_name("best model")) / "fold_0")
    assert (renamed.trainer, renamed.configuration) == (before.trainer, before.configuration)


def test_damaged_files_become_notes(tmp_path):
    model = write_model(tmp_path)
    (model / "fold_0" / "checkpoint_final.pth").write_bytes(b"half a check")
    (model / "fold_0" / "pseudo_label_quality.json").write_text("{")
    notes = read_fold(model / "fold_0").notes
    assert len(notes) == 2 and "checkpoint_final.pth cannot be read" in notes[0]
    assert "pseudo_label_quality.json cannot be read" in build_report(model)


@pytest.mark.parametrize("name", ["", "missing"])
def test_no_model_folder(tmp_path, name):
    with pytest.raises(UserError, match=r"is not a (model )?folder"):
        build_report(tmp_path / name)


def test_overlays_are_sorted_by_epoch(tmp_path):
    for name in ("epoch_0099_b_1", "epoch_0009_b_1", "epoch_10000_a", "epoch_x_a"):
        save_progress_png({}, tmp_path)
        (tmp_path / "progress_crln.png").rename(tmp_path / f"{name}.png")
    assert {case: list(epochs) for case, epochs in find_overlays(tmp_path).items()} == {"a": [10000], "b_1": [9, 99]}
    assert find_overlays(tmp_path / "missing") == {}


def test_chosen_epochs():
    assert chosen_epochs([9, 19]) == [9, 19]
    assert chosen_epochs(list(range(0, 1000, 50)), 3)[0] == 0
    assert chosen_epochs(list(range(0, 1000, 50)), 3)[-1] == 950


def test_pieces_escape_and_markup_does_not_escape_twice():
    page = render_page("", "", [], [Table(["<"], [["&"]]), Paragraph(code("<b>"))], [])
    assert '<th class="text">&lt;</th>' in page and '<td class="text">&amp;</td>' in page
    assert "<p><code>&lt;b&gt;</code></p>" in page


def test_the_first_question_is_answered_first(tmp_path):
    model, baseline = write_model(tmp_path), write_model(tmp_path, "nnUNetTrainer", dice=0.8)
    alone, compared = build_report(model), build_report(model, baseline)
    assert "Unknown: nothing to compare with" in alone and "--baseline" in alone
    assert "Yes: +10.0 Dice points" in compared and "6 validation cases" in compared
    assert "No: -10.0 Dice points" in build_report(baseline, model)
    assert compared.index("Did the unlabelled data help?") < compared.index("<h2>Curves")


@pytest.mark.parametrize("folds", [("fold_0", "fold_all"), ("fold_all", "fold_0"), ("fold_all", "fold_all")])
def test_scores_of_training_cases_are_not_compared(tmp_path, folds):
    models = [write_model(tmp_path, name, fold) for name, fold in zip(("CRLN", "nnUNetTrainer"), folds, strict=True)]
    for model, fold in zip(models, folds, strict=True):
        write_evaluation(model / fold / "validation" / "summary_crln.json", 0.5 if model == models[0] else 1.0)
    page = build_report(*models)
    assert "Dice points" not in page and "Dice of the validation cases" not in page
    assert "Unknown: no held-out case" in page and "Validation scores are not compared: fold all" in page
    for model, fold in zip(models, folds, strict=True):
        write_evaluation(model / fold / "test" / "summary_crln.json", 0.5 if model == models[0] else 1.0)
    assert "No: -32.5 Dice points" in build_report(*models)


def test_the_advised_report_can_be_pasted(tmp_path):
    model = write_model(tmp_path / "my results")
    (command,) = re.findall("<code>(nnUNetv2_crln_report .*?)</code>", build_report(model))
    baseline = model.with_name("nnUNetTrainer__nnUNetPlans__3d_lowres")
    words = ["nnUNetv2_crln_report", str(model.resolve()), "--baseline", str(baseline.resolve())]
    assert shlex.split(html.unescape(command)) == words


def write_dice(model, *cases, fold="fold_0", first=0):
    """Replace the Dice of the validation: for each case, that of each class."""
    entries = [
        {"reference_file": f"case_{i}.nii.gz", "metrics": {str(k): {"Dice": v} for k, v in enumerate(dice, 1)}}
        for i, dice in enumerate(cases, first)
    ]
    (model / fold / "validation" / "summary.json").write_text(json.dumps({"metric_per_case": entries}))


@pytest.mark.filterwarnings("error:Mean of empty slice")
def test_the_verdict_compares_the_same_classes_of_each_case(tmp_path):
    model, baseline = write_model(tmp_path), write_model(tmp_path, "nnUNetTrainer")
    absent = (math.nan, math.nan)
    write_dice(model, (0.9, math.nan), (0.9, 0.8), (0.9, 0.8), absent)
    write_dice(baseline, (0.9, 0.0), (0.9, 0.8), (0.9, 0.8), absent)
    page = build_report(model, baseline)
    assert "Not clear: +0.0 Dice points" in page and "interval +0.0 to +0.0, 3 validation cases" in page
    write_dice(model, absent)
    assert "Unknown: no held-out case was scored by both models" in build_report(model, baseline)


@pytest.mark.parametrize("swapped", [False, True])
def test_a_difference_whose_interval_holds_zero_is_not_clear(tmp_path, swapped):
    model, baseline = write_model(tmp_path), write_model(tmp_path, "nnUNetTrainer")
    write_dice(model, *[(0.9,), (0.9,), (0.5,)] * 2)
    write_dice(baseline, *[(0.5,), (0.8,), (0.8,)] * 2)
    first, second = (baseline, model) if swapped else (model, baseline)
    pair = PairedFold(read_fold(first / "fold_0"), read_fold(second / "fold_0"))
    answer = did_it_help(pair.fold, [pair], [])
    assert answer.verdict == f"Not clear: {'-' if swapped else '+'}6.7 Dice points" and answer.state == "open"


@pytest.mark.parametrize(("cases", "verdict"), [(2, "Not clear"), (5, "Not clear"), (6, "Yes")])
def test_a_verdict_needs_as_many_cases_as_a_test(tmp_path, cases, verdict):
    model, baseline = write_model(tmp_path), write_model(tmp_path, "nnUNetTrainer")
    write_dice(model, *[(0.801,)] * cases)
    write_dice(baseline, *[(0.8,)] * cases)
    page = build_report(model, baseline)
    assert f"{verdict}: +0.1 Dice points" in page
    assert ("Fewer than 6 cases cannot tell two models apart" in page) == (cases < 6)


def test_the_verdict_is_that_of_all_folds(tmp_path):
    models = [write_model(tmp_path, name) for name in ("nnUNetTrainer_CRLN", "nnUNetTrainer")]
    for name in ("nnUNetTrainer_CRLN", "nnUNetTrainer"):
        (tmp_path / "more").mkdir(exist_ok=True)
        more = write_model(tmp_path / "more", name, "fold_1")
        (more / "fold_1").rename(next(m for m in models if m.name == more.name) / "fold_1")
    write_dice(models[0], *[(0.9,)] * 3)
    write_dice(models[1], *[(0.8,)] * 3)
    write_dice(models[0], *[(0.6,)] * 9, fold="fold_1", first=3)
    write_dice(models[1], *[(0.8,)] * 9, fold="fold_1", first=3)
    page = build_report(*models)
    assert "No: -12.5 Dice points" in page and "12 validation cases" in page
    # An evaluation of one fold alone says less than the validation of both.
    write_evaluation(models[0] / "fold_0" / "validation" / "summary_crln.json")
    write_evaluation(models[1] / "fold_0" / "validation" / "summary_crln.json", 0.5)
    assert "No: -12.5 Dice points" in build_report(*models)
    # Both folds have predicted the same test cases: their mean counts, once for each case.
    for fold, factor in (("fold_0", 0.5), ("fold_1", 0.9)):
        write_evaluation(models[0] / fold / "test" / "summary_crln.json", factor)
        write_evaluation(models[1] / fold / "test" / "summary_crln.json", 1.0)
    page = build_report(*models)
    assert "No: -19.5 Dice points" in page and "6 evaluated cases" in page


@pytest.mark.filterwarnings("error:Mean of empty slice")
def test_one_case_has_no_interval(tmp_path):
    model, baseline = write_model(tmp_path), write_model(tmp_path, "nnUNetTrainer")
    write_dice(model, (0.9, math.nan))
    write_dice(baseline, (0.9, 0.0))
    page = build_report(model, baseline)
    assert "Not clear: +0.0 Dice points" in page and "90.0 against 90.0 of nnUNetTrainer; 1 validation case." in page
    assert "+nan" not in page


def test_an_evaluation_counts_more_than_the_validation(tmp_path):
    model, baseline = write_model(tmp_path), write_model(tmp_path, "nnUNetTrainer", dice=0.8)
    write_evaluation(tmp_path / "a" / "summary_crln.json", 1.0)
    write_evaluation(tmp_path / "b" / "summary_crln.json", 0.5)
    page = build_report(model, baseline, [tmp_path / "a" / "summary_crln.json"], [tmp_path / "b" / "summary_crln.json"])
    assert "Yes: +32.5 Dice points" in page and "6 evaluated cases" in page


def test_the_panel_names_the_cases_to_annotate(tmp_path):
    model = write_model(tmp_path)
    write_json_with_nulls(quality(20), model / "fold_0" / "pseudo_label_quality.json")
    save_progress_png({}, model / "fold_0" / "crln_overlays")
    overlays = model / "fold_0" / "crln_overlays"
    (overlays / "progress_crln.png").rename(overlays / "epoch_0009_case<01>.png")
    page = build_report(model)
    assert "case&lt;00&gt;, case&lt;01&gt;, case&lt;02&gt;" in page
    assert page.count('alt="case&lt;01&gt;"') == 1


@pytest.mark.parametrize("kept_bytes", [0, 60, 2000])
def test_a_damaged_picture_is_left_out_of_the_panel(tmp_path, kept_bytes):
    model = write_model(tmp_path)
    write_json_with_nulls(quality(20), model / "fold_0" / "pseudo_label_quality.json")
    save_progress_png({"crln_mu": [0.1, 0.2]}, model / "fold_0" / "crln_overlays")
    overlays = model / "fold_0" / "crln_overlays"
    damaged = (overlays / "progress_crln.png").rename(overlays / "epoch_0009_case<01>.png")
    damaged.write_bytes(damaged.read_bytes()[:kept_bytes])
    assert 'alt="case&lt;01&gt;"' not in build_report(model)


def test_files_are_linked_relative_to_the_page(tmp_path):
    model = write_model(tmp_path)
    page = build_report(model, page_folder=tmp_path / "pages")
    target = f"../{model.name}/fold_0/checkpoint_final.pth"
    assert f'<a href="{target}">fold_0/checkpoint_final.pth</a>' in page


def test_files_on_another_drive_than_the_page_are_linked_by_their_whole_path(tmp_path, monkeypatch):
    def relpath(*_):
        raise ValueError("path is on mount 'C:', start on mount 'D:'")

    model = write_model(tmp_path)
    monkeypatch.setattr("os.path.relpath", relpath)
    target = (model / "fold_0" / "checkpoint_final.pth").resolve().as_uri()
    assert f'<a href="{target}">fold_0/checkpoint_final.pth</a>' in build_report(model, page_folder=tmp_path)


@pytest.mark.parametrize(("dice", "verdict", "state"), [(0.70, "Yes", "good"), (0.69, "Not yet", "bad")])
def test_measured_pseudo_labels_are_judged_by_the_rectified_ones(tmp_path, dice, verdict, state):
    fold = read_fold(write_model(tmp_path) / "fold_0")
    fold.logging.update(crln_pseudo_dice=[0.1, dice, math.nan], crln_pseudo_dice_raw=[0.9, 0.5, math.nan])
    answer = pseudo_labels(fold)
    assert (answer.verdict, answer.state) == (verdict, state)
    (text,) = answer.details
    assert f"Dice {dice:.3f} against the hidden labels" in text and "0.500 unrectified" in text

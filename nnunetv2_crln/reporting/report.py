"""Build the report of a model folder from its result files: one HTML page that opens from disk."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from scipy import stats

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.evaluation.comparison import compare_evaluations, paired_difference
from nnunetv2_crln.evaluation.metrics import METRICS, Metric
from nnunetv2_crln.evaluation.summary_file import load_summary
from nnunetv2_crln.layout import PLANS_BLOCK
from nnunetv2_crln.reporting import html
from nnunetv2_crln.reporting.figures import draw_comparison, file_uri, png_uri
from nnunetv2_crln.reporting.model_folder import Fold, find_folds, read_fold
from nnunetv2_crln.reporting.progress_png import draw_progress
from nnunetv2_crln.reporting.remarks import FEWEST_EPOCHS, remarks
from nnunetv2_crln.settings import CRLNSettings

OVERLAYS_PER_CASE = 6
RANKED_CASES = 15
FEWEST_FOR_CORRELATION = 5


def build_report(
    model_folder: str | Path,
    baseline_folder: str | Path | None = None,
    evaluations: Sequence[Path] = (),
    baseline_evaluations: Sequence[Path] = (),
) -> str:
    """Build the whole page.

    Args:
        model_folder: Folder of the trainer in nnUNet_results, or its fold_X.
        baseline_folder: Folder of another model to compare with; None for no comparison.
        evaluations: Results of nnUNetv2_crln_evaluate, for example for the test cases.
        baseline_evaluations: Results of nnUNetv2_crln_evaluate for the baseline, in the same order.

    Returns:
        HTML of the page.

    Raises:
        UserError: A folder is not a model folder, or an evaluation cannot be read.
    """
    folds = [read_fold(folder) for folder in find_folds(model_folder)]
    baselines = [read_fold(folder) for folder in find_folds(baseline_folder)] if baseline_folder else []
    first = folds[0]
    name = first.plans.get("dataset_name", first.folder.parent.parent.name)
    parts = [html.heading(1, f"{first.trainer} on {name}"), html.paragraph(html.code(first.folder.parent), "lead")]
    for fold in folds:
        parts += _fold_parts(fold, single=len(folds) == 1)
    parts += _test_section([load_summary(path) for path in evaluations], evaluations)
    for fold in folds:
        baseline = _matching(fold, baselines)
        if baseline is not None:
            parts += _comparison_section(fold, baseline, evaluations, baseline_evaluations)
    return html.page(f"{first.trainer} on {name}", parts)


def _fold_parts(fold: Fold, single: bool) -> list[str]:
    parts = [] if single else [html.heading(1, fold.folder.name)]
    parts += [html.remark_list(fold.notes)] if fold.notes else []
    return [
        *parts,
        *_facts_section(fold),
        *_curves_section(fold),
        *_overlay_section(fold),
        *_validation_section(fold),
        *_test_section(list(fold.evaluations.values()), list(fold.evaluations)),
        *_quality_section(fold),
    ]


def _matching(fold: Fold, baselines: Sequence[Fold]) -> Fold | None:
    """Find the baseline's fold of the same name, or its only one."""
    same = [baseline for baseline in baselines if baseline.folder.name == fold.folder.name]
    candidates = same or (baselines if len(baselines) == 1 else [])
    return candidates[0] if candidates else None


# -------------------------------------------------------------------- what was trained


def _facts_section(fold: Fold) -> list[str]:
    return [html.heading(2, "What was trained on what"), html.facts(list(_facts(fold)))]


def _facts(fold: Fold) -> list[tuple[str, object]]:
    plan, recorded, dataset = fold.plan, fold.facts or {}, fold.dataset
    counts = recorded.get("num_cases", {"labelled (dataset.json)": dataset.get("numTraining", "unknown")})
    classes = [name for name, value in dataset.get("labels", {}).items() if value != 0]
    channels = dataset.get("channel_names", dataset.get("modality", {}))
    rows: list[tuple[str, object]] = [
        ("Fold", fold.folder.name),
        ("Cases", ", ".join(f"{count} {kind}" for kind, count in counts.items())),
        ("Channels", ", ".join(map(str, channels.values()))),
        ("Classes", ", ".join(classes)),
        ("Configuration", f"{fold.configuration} of {fold.plans.get('plans_name', 'unknown plans')}"),
        ("Patch", f"{_times(plan.get('patch_size', []))} voxels"),
        ("Spacing", f"{_times(plan.get('spacing', []))} mm"),
        ("Batch", _batch(fold)),
        ("Network", _network(plan)),
        ("Progress", _progress(fold)),
    ]
    rows += [("crln block of the plans", _settings_text(plan.get(PLANS_BLOCK, {})) or "none: all defaults")]
    if recorded:
        rows += [("Settings that differ from the defaults", _settings_text(_changed(recorded["settings"])) or "none")]
        rows += [("Seed", recorded["seed"]), ("Device", recorded["device"])]
        rows += [("Versions", ", ".join(f"{name} {number}" for name, number in recorded["versions"].items()))]
    else:
        rows += [("Device", fold.debug.get("gpu_name", fold.debug.get("device", "unknown")))]
        rows += [("Versions", f"torch {fold.debug.get('torch_version', 'unknown')}")]
    return rows


def _times(numbers: Sequence[float]) -> str:
    return " × ".join(f"{number:g}" for number in numbers)


def _batch(fold: Fold) -> str:
    if fold.facts:
        return f"{fold.facts['labelled_patches']} labelled + {fold.facts['unlabelled_patches']} unlabelled patches"
    return f"{fold.plan.get('batch_size', 'unknown')} patches"


def _network(plan: Mapping) -> str:
    architecture = plan.get("architecture", {})
    features = architecture.get("arch_kwargs", {}).get("features_per_stage", [])
    name = str(architecture.get("network_class_name", "unknown")).rsplit(".", 1)[-1]
    return f"{name}, features {', '.join(map(str, features))}" if features else name


def _progress(fold: Fold) -> str:
    starts, ends = (fold.logging.get(f"epoch_{which}_timestamps", []) for which in ("start", "end"))
    if not ends:
        return "no epoch finished"
    planned = (fold.facts or {}).get("epochs") or fold.debug.get("num_epochs", "?")
    # A started epoch has no end yet.
    seconds = median(end - start for start, end in zip(starts, ends, strict=False))
    return f"{len(ends)} of {planned} epochs ({fold.checkpoint}), median {seconds:.1f} s an epoch"


def _changed(settings: Mapping[str, Any]) -> dict[str, Any]:
    defaults = {field.name: field.default for field in dataclasses.fields(CRLNSettings)}
    return {key: value for key, value in settings.items() if defaults.get(key) != value}


def _settings_text(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} = {value}" for key, value in settings.items())


# -------------------------------------------------------------------- curves and pictures


def _curves_section(fold: Fold) -> list[str]:
    parts = [html.heading(2, "Curves")]
    if not fold.logging:
        return [*parts, html.paragraph("No checkpoint with a log was found.", "note")]
    found = remarks(fold.logging)
    if found:
        parts.append(html.remark_list(found))
    elif len(fold.logging.get("crln_supervised", [])) >= FEWEST_EPOCHS:
        parts.append(html.paragraph("Nothing in the curves stands out.", "fine"))
    caption = "What each curve should look like: docs/monitoring.md of nnunetv2_crln."
    return [*parts, html.picture(png_uri(draw_progress(fold.logging)), "Curves of the training", caption)]


def _overlay_section(fold: Fold) -> list[str]:
    if not fold.overlays:
        return []
    parts = [
        html.heading(2, "Pseudo labels of the monitored cases"),
        html.paragraph(
            "One patch of each case. Raw: the teacher's prediction; rectified: after correction with the relationship "
            "map M (orange speaks for a class, purple against it); change: what the correction added or removed.",
            "note",
        ),
    ]
    for case, by_epoch in fold.overlays.items():
        epochs = chosen_epochs(list(by_epoch))
        pictures = [html.picture(file_uri(by_epoch[epoch]), f"{case}, epoch {epoch}") for epoch in epochs]
        parts.append(pictures[-1])
        if len(pictures) > 1:
            title = f"{case} over time: epochs {', '.join(map(str, epochs[:-1]))}"
            parts.append(html.folded(title, pictures[:-1]))
    return parts


def chosen_epochs(epochs: Sequence[int], limit: int = OVERLAYS_PER_CASE) -> list[int]:
    """Choose evenly spread epochs that include the first and the last.

    Args:
        epochs: Epochs to choose from.
        limit: Largest number of chosen epochs.

    Returns:
        Chosen epochs.

    Example:
        >>> chosen_epochs([0, 10, 20, 30, 40], 3)
        [0, 20, 40]
    """
    positions = np.linspace(0, len(epochs) - 1, min(limit, len(epochs))).round().astype(int)
    return [epochs[i] for i in positions]


# -------------------------------------------------------------------- tables


def _validation_section(fold: Fold) -> list[str]:
    if not fold.validation:
        return []
    parts = [html.heading(2, "Validation (nnU-Net)")]
    if fold.folder.name == "fold_all":
        parts.append(html.paragraph("Fold all: these cases were trained on. The numbers say nothing about new ones."))
    rows = [
        [_class_name(fold.dataset, key), *(_plain_number(values.get(m)) for m in ("Dice", "IoU"))]
        for key, values in fold.validation.get("mean", {}).items()
    ]
    foreground = fold.validation.get("foreground_mean", {})
    rows.append(["foreground mean", *(_plain_number(foreground.get(m)) for m in ("Dice", "IoU"))])
    return [*parts, html.table(["Class", "Dice", "IoU"], rows), _case_count(fold.validation)]


def _case_count(validation: Mapping) -> str:
    return html.paragraph(
        f"{len(validation.get('metric_per_case', []))} cases, sliding window over whole images.", "note"
    )


def _class_name(dataset: Mapping, key: str) -> str:
    """Return the name of a class, which nnU-Net's summaries identify by its value."""
    return next((name for name, value in dataset.get("labels", {}).items() if str(value) == key), key)


def _test_section(evaluations: Sequence[Mapping], paths: Sequence[Path]) -> list[str]:
    parts: list[str] = []
    for evaluation, path in zip(evaluations, paths, strict=True):
        rows = [
            [name, *(_mean_with_sd(metric, metrics[metric.key]) for metric in METRICS)]
            for name, metrics in [*evaluation["mean"].items(), ("foreground mean", evaluation["foreground_mean"])]
        ]
        parts += [
            html.heading(2, f"Evaluation of {Path(evaluation['predictions_folder']).name or path.parent.name}"),
            html.table(["Class", *(f"{m.title} [{m.unit}]" for m in METRICS)], rows),
            html.paragraph(
                f"{evaluation['num_cases']} cases; mean ± sd by bootstrap, {evaluation['bootstrap']['resamples']} "
                "resamples; (n): undefined values left out. Definitions: docs/evaluation.md.",
                "note",
            ),
            html.paragraph(html.code(path), "note"),
        ]
    return parts


def _mean_with_sd(metric: Metric, values: Mapping) -> str:
    undefined = f" ({values['n_nan']})" if values["n_nan"] else ""
    return f"{_number(metric, values['mean'])} ± {_number(metric, values['sd'])}{undefined}"


def _number(metric: Metric, value: float) -> str:
    return "–" if math.isnan(value) else f"{value * metric.factor:.2f}"


def _plain_number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


# -------------------------------------------------------------------- comparison


def _comparison_section(
    fold: Fold, baseline: Fold, evaluations: Sequence[Path], baseline_evaluations: Sequence[Path]
) -> list[str]:
    parts = [
        html.heading(2, f"Comparison with {baseline.trainer} ({fold.folder.name})"),
        html.paragraph(html.code(baseline.folder), "lead"),
    ]
    if fold.plan.get("patch_size") != baseline.plan.get("patch_size"):
        parts.append(html.remark_list(["The two trainings have different patch sizes."]))
    figure = draw_comparison(fold.logging, baseline.logging)
    if figure is not None:
        parts.append(html.picture(png_uri(figure), "Validation curves of both trainings"))
    parts += _validation_comparison(fold, baseline)
    pairs = [
        (fold.evaluations[path], other)
        for path in fold.evaluations
        if (other := baseline.evaluations.get(baseline.folder / path.relative_to(fold.folder))) is not None
    ]
    pairs += [(load_summary(a), load_summary(b)) for a, b in zip(evaluations, baseline_evaluations, strict=False)]
    for ours, theirs in pairs:
        parts += _evaluation_comparison(ours, theirs)
    return parts


def _validation_comparison(fold: Fold, baseline: Fold) -> list[str]:
    ours, theirs = _case_dice(fold), _case_dice(baseline)
    cases = [case for case in ours if case in theirs]
    if not cases:
        return []
    classes = sorted({key for case in cases for key in ours[case] if key in theirs[case]})
    rows = []
    for key in classes:
        a, b = (np.array([side[case].get(key, math.nan) for case in cases]) for side in (ours, theirs))
        test = paired_difference(a, b)
        numbers = (_plain_number(test[name]) for name in ("mean_a", "mean_b", "difference"))
        interval = f"{_plain_number(test['ci_low'])} to {_plain_number(test['ci_high'])}"
        rows.append([_class_name(fold.dataset, key), *numbers, interval, _p(test["p_value"])])
    return [
        html.heading(3, "Dice of the validation cases"),
        html.table(["Class", "this model", "baseline", "difference", "95 % interval", "p"], rows),
        html.paragraph(f"{len(cases)} cases. {_TEST_NOTE}", "note"),
    ]


_TEST_NOTE = (
    "Interval: paired bootstrap. p: Wilcoxon signed-rank, two-sided. Both describe the choice of cases, not of a "
    "training's seed."
)


def _case_dice(fold: Fold) -> dict[str, dict[str, float]]:
    """Return the Dice of nnU-Net's validation by case and class."""
    found = {}
    for entry in (fold.validation or {}).get("metric_per_case", []):
        name = Path(entry["reference_file"]).name
        found[name] = {key: float(metrics["Dice"]) for key, metrics in entry["metrics"].items()}
    return found


def _evaluation_comparison(ours: Mapping, theirs: Mapping) -> list[str]:
    title = html.heading(3, f"Evaluation of {Path(ours['predictions_folder']).name}")
    try:
        comparison = compare_evaluations(ours, theirs)
    except UserError as error:
        return [title, html.paragraph(str(error), "note")]
    rows = []
    for name, tests in [*comparison["difference"].items(), ("foreground mean", comparison["foreground_mean"])]:
        for metric in METRICS:
            test = tests[metric.key]
            numbers = (_number(metric, test[key]) for key in ("mean_a", "mean_b", "difference"))
            interval = f"{_number(metric, test['ci_low'])} to {_number(metric, test['ci_high'])}"
            rows.append([name, f"{metric.title} [{metric.unit}]", *numbers, interval, _p(test["p_value"])])
    header = ["Class", "Metric", "this model", "baseline", "difference", "95 % interval", "p"]
    return [
        title,
        html.table(header, rows, text_columns=2),
        html.paragraph(f"{comparison['num_cases']} cases. {_TEST_NOTE}", "note"),
    ]


def _p(value: float) -> str:
    if math.isnan(value):
        return "–"
    return "<0.001" if value < 0.001 else f"{value:.3f}"


# -------------------------------------------------------------------- what to annotate next


def _quality_section(fold: Fold) -> list[str]:
    if not fold.quality:
        return []
    cases: dict[str, dict] = fold.quality["cases"]
    known = any(values.get("dice") is not None for values in cases.values())
    header = ["", "Case", "Expected Dice", "Confidence of foreground", "Unsure voxels", "Foreground"]
    header += ["Dice (hidden label)"] if known else []
    rows = [_quality_row(rank, case, values, known) for rank, (case, values) in enumerate(cases.items(), start=1)]
    more = [
        html.folded(
            f"The other {len(rows) - RANKED_CASES} cases", [html.table(header, rows[RANKED_CASES:], text_columns=2)]
        )
    ]
    return [
        html.heading(2, "The scans worth annotating next"),
        html.paragraph(
            f"The unlabelled cases after epoch {fold.quality['epoch']}, least confident first. "
            "Expected Dice: the Dice that the teacher's probabilities predict for its pseudo label (usually too high: "
            "only the order counts); a case where nothing was found comes first. "
            f"Unsure: confidence below {fold.quality['confidence_threshold']}. One patch each "
            f"of {len(cases)} of the {fold.quality['num_unlabelled']} cases was predicted.",
            "note",
        ),
        html.table(header, rows[:RANKED_CASES], text_columns=2),
        *(more if len(rows) > RANKED_CASES else []),
        *_correlation(cases),
    ]


def _quality_row(rank: int, case: str, values: Mapping, known: bool) -> list[object]:
    expected = values.get("expected_dice")
    row: list[object] = [
        rank,
        html.code(case),
        _plain_number(expected) if expected is not None else "nothing found",
        _plain_number(values.get("foreground_confidence")),
        f"{values['unsure_share']:.2%}",
        f"{values['foreground_share']:.2%}",
    ]
    return [*row, _plain_number(values.get("dice"))] if known else row


def _correlation(cases: Mapping[str, Mapping]) -> list[str]:
    """Report how far the ranking can be trusted, if there are hidden labels."""
    pairs = [
        (values["expected_dice"], values["dice"])
        for values in cases.values()
        if values.get("expected_dice") is not None and values.get("dice") is not None
    ]
    if len(pairs) < FEWEST_FOR_CORRELATION:
        return []
    correlation = float(stats.spearmanr(*zip(*pairs, strict=True)).statistic)
    if math.isnan(correlation):
        return []
    return [
        html.paragraph(
            f"Spearman correlation of expected Dice and Dice with the hidden label: {correlation:.2f} "
            f"({len(pairs)} cases; 1: the ranking is right, 0: it is a guess).",
            "note",
        )
    ]

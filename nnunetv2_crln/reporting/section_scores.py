"""Build the report's sections on scores: validation, evaluations, comparison with a baseline."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.evaluation.comparison import compare_evaluations, paired_difference
from nnunetv2_crln.evaluation.formatting import metric_value, metric_with_sd, p_value
from nnunetv2_crln.evaluation.metrics import METRICS, Metric
from nnunetv2_crln.reporting.blocks import Block, Heading, Paragraph, Picture, Remarks, Table, code
from nnunetv2_crln.reporting.figures import draw_comparison, png_uri
from nnunetv2_crln.reporting.fold import Fold
from nnunetv2_crln.reporting.formatting import class_name, plain_number
from nnunetv2_crln.reporting.paired_scores import EvaluationPair, PairedFold, dice_of_cases


def validation_section(fold: Fold) -> list[Block]:
    """Show the scores of nnU-Net's own validation, if they exist."""
    if not fold.validation:
        return []
    parts: list[Block] = [Heading(2, "Validation (nnU-Net)")]
    if fold.folder.name == "fold_all":
        parts.append(Paragraph("Fold all: these cases were trained on. The numbers say nothing about new ones."))
    rows = [
        [class_name(fold.dataset, key), *(plain_number(values.get(m)) for m in ("Dice", "IoU"))]
        for key, values in fold.validation.get("mean", {}).items()
    ]
    foreground = fold.validation.get("foreground_mean", {})
    rows.append(["foreground mean", *(plain_number(foreground.get(m)) for m in ("Dice", "IoU"))])
    return [*parts, Table(["Class", "Dice", "IoU"], rows), _case_count(fold.validation)]


def _case_count(validation: Mapping) -> Block:
    return Paragraph(f"{len(validation.get('metric_per_case', []))} cases, sliding window over whole images.", "note")


def evaluation_section(evaluations: Sequence[Mapping], paths: Sequence[Path]) -> list[Block]:
    """Show results of nnUNetv2_crln_evaluate.

    Args:
        evaluations: Contents of the result files.
        paths: Paths of the result files, in the same order.

    Returns:
        Heading and table of each.
    """
    parts: list[Block] = []
    for evaluation, path in zip(evaluations, paths, strict=True):
        rows = [
            [name, *(_with_undefined(metric, metrics[metric.key]) for metric in METRICS)]
            for name, metrics in [*evaluation["mean"].items(), ("foreground mean", evaluation["foreground_mean"])]
        ]
        parts += [
            Heading(2, f"Evaluation of {Path(evaluation['predictions_folder']).name or path.parent.name}"),
            Table(["Class", *(f"{m.title} [{m.unit}]" for m in METRICS)], rows),
            Paragraph(
                f"{evaluation['num_cases']} cases; mean ± sd by bootstrap, {evaluation['bootstrap']['resamples']} "
                "resamples; (n): undefined values left out. Definitions: docs/evaluation.md in the repository.",
                "note",
            ),
            Paragraph(code(path), "note"),
        ]
    return parts


def comparison_section(pair: PairedFold) -> list[Block]:
    """Compare a fold with the baseline's.

    Args:
        pair: Both folds.

    Returns:
        Heading, curves and tables.
    """
    fold, baseline = pair.fold, pair.baseline
    parts: list[Block] = [
        Heading(2, f"Comparison with {baseline.trainer} ({fold.folder.name})"),
        Paragraph(code(baseline.folder), "lead"),
    ]
    if fold.plan.get("patch_size") != baseline.plan.get("patch_size"):
        parts.append(Remarks(["The two trainings have different patch sizes."]))
    figure = draw_comparison(fold.logging, baseline.logging)
    if figure is not None:
        parts.append(Picture(png_uri(figure), "Validation curves of both trainings"))
    parts += _validation_comparison(pair)
    for ours, theirs in pair.evaluations().values():
        parts += _evaluation_comparison(ours, theirs)
    return parts


def given_comparison_section(pairs: Sequence[EvaluationPair]) -> list[Block]:
    """Compare the evaluations that the user has given.

    Args:
        pairs: Results of nnUNetv2_crln_evaluate for the model and for the baseline.

    Returns:
        Heading and tables; empty without evaluations.
    """
    parts: list[Block] = [Heading(2, "Comparison of the evaluations")] if pairs else []
    for ours, theirs in pairs:
        parts += _evaluation_comparison(ours, theirs)
    return parts


def _validation_comparison(pair: PairedFold) -> list[Block]:
    if pair.validates_on_training_cases:
        return [
            Paragraph(
                "Validation scores are not compared: fold all validates on its training cases, for its curves, too. "
                "Predict held-out cases with both models, and evaluate both with nnUNetv2_crln_evaluate.",
                "note",
            )
        ]
    classes, ours, theirs = dice_of_cases(pair.validation())
    if not classes:
        return []
    rows = []
    for index, key in enumerate(classes):
        test = paired_difference(ours[:, index], theirs[:, index])
        numbers = (plain_number(test[name]) for name in ("mean_a", "mean_b", "difference"))
        interval = f"{plain_number(test['ci_low'])} to {plain_number(test['ci_high'])}"
        rows.append([class_name(pair.fold.dataset, key), *numbers, interval, p_value(test["p_value"])])
    return [
        Heading(3, "Dice of the validation cases"),
        Table(["Class", "this model", "baseline", "difference", "95 % interval", "p"], rows),
        Paragraph(f"{len(ours)} cases. {_TEST_NOTE}", "note"),
    ]


_TEST_NOTE = (
    "Interval: paired bootstrap. p: Wilcoxon signed-rank, two-sided. Both describe the choice of cases, not of a "
    "training's seed."
)


def _evaluation_comparison(ours: Mapping, theirs: Mapping) -> list[Block]:
    title = Heading(3, f"Evaluation of {Path(ours['predictions_folder']).name}")
    try:
        comparison = compare_evaluations(ours, theirs)
    except UserError as error:
        return [title, Paragraph(str(error), "note")]
    rows = []
    for name, tests in [*comparison["difference"].items(), ("foreground mean", comparison["foreground_mean"])]:
        for metric in METRICS:
            test = tests[metric.key]
            numbers = (metric_value(metric, test[key]) for key in ("mean_a", "mean_b", "difference"))
            interval = f"{metric_value(metric, test['ci_low'])} to {metric_value(metric, test['ci_high'])}"
            rows.append([name, f"{metric.title} [{metric.unit}]", *numbers, interval, p_value(test["p_value"])])
    header = ["Class", "Metric", "this model", "baseline", "difference", "95 % interval", "p"]
    return [
        title,
        Table(header, rows, text_columns=2),
        Paragraph(f"{comparison['num_cases']} cases. {_TEST_NOTE}", "note"),
    ]


def _with_undefined(metric: Metric, values: Mapping) -> str:
    """Format mean and standard deviation with the number of undefined values, such as ``89.49 ± 0.59 (1)``."""
    undefined = f" ({values['n_nan']})" if values["n_nan"] else ""
    return f"{metric_with_sd(metric, values)}{undefined}"

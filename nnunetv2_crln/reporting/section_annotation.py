"""Build the report's section on the unlabelled scans that are worth annotating next."""

import math
from collections.abc import Mapping

from scipy import stats

from nnunetv2_crln.reporting.blocks import Block, Folded, Heading, Paragraph, Table, code
from nnunetv2_crln.reporting.fold import Fold
from nnunetv2_crln.reporting.formatting import plain_number

RANKED_CASES = 15
FEWEST_FOR_CORRELATION = 5


def quality_section(fold: Fold) -> list[Block]:
    """Rank the unlabelled cases; the section is empty before the end of a training."""
    if not fold.quality:
        return []
    cases: dict[str, dict] = fold.quality["cases"]
    known = any(values.get("dice") is not None for values in cases.values())
    header = ["", "Case", "Expected Dice", "Confidence of foreground", "Unsure voxels", "Foreground"]
    header += ["Dice (hidden label)"] if known else []
    rows = [_quality_row(rank, case, values, known) for rank, (case, values) in enumerate(cases.items(), start=1)]
    more = [Folded(f"The other {len(rows) - RANKED_CASES} cases", [Table(header, rows[RANKED_CASES:], text_columns=2)])]
    return [
        Heading(2, "The scans worth annotating next"),
        Paragraph(
            f"The unlabelled cases after epoch {fold.quality['epoch']}, least confident first. "
            "Expected Dice: the Dice that the teacher's probabilities predict for its pseudo label (usually too high: "
            "only the order counts); a case where nothing was found comes first. "
            f"Unsure: confidence below {fold.quality['confidence_threshold']}. One patch each "
            f"of {len(cases)} of the {fold.quality['num_unlabelled']} cases was predicted.",
            "note",
        ),
        Table(header, rows[:RANKED_CASES], text_columns=2),
        *(more if len(rows) > RANKED_CASES else []),
        *_correlation(cases),
    ]


def _quality_row(rank: int, case: str, values: Mapping, known: bool) -> list[object]:
    expected = values.get("expected_dice")
    row: list[object] = [
        rank,
        code(case),
        plain_number(expected) if expected is not None else "nothing found",
        plain_number(values.get("foreground_confidence")),
        f"{values['unsure_share']:.2%}",
        f"{values['foreground_share']:.2%}",
    ]
    return [*row, plain_number(values.get("dice"))] if known else row


def _correlation(cases: Mapping[str, Mapping]) -> list[Block]:
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
        Paragraph(
            f"Spearman correlation of expected Dice and Dice with the hidden label: {correlation:.2f} "
            f"({len(pairs)} cases; 1: the ranking is right, 0: it is a guess).",
            "note",
        )
    ]

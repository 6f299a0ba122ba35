"""Format the table at the end of a conversion."""

from collections import defaultdict

from nnunetv2_crln.dataset_conversion.common.converter import Report
from nnunetv2_crln.dataset_conversion.common.roles import Role
from nnunetv2_crln.errors import listing

COLUMNS = ("in split", "found", "written", "no label", "failed", "missing")


def summarise(report: Report) -> str:
    """Format the counts by role, then the cases skipped, corrected, missing and failed, each with its reason."""
    lines = [f"{'':12}" + "".join(f"{column:>10}" for column in COLUMNS)]
    for role in Role:
        cases = report.of(role)
        if cases:
            lines.append(f"{role.value:12}" + "".join(f"{count:10d}" for count in _counts(report, role, len(cases))))
    unscored = [case for case in report.of(Role.TEST, report.written) if case not in report.with_label]
    if unscored:
        lines.append(f"Test cases without label, to predict but not to score ({len(unscored)}): {listing(unscored)}")
    lines += [f"Skipped, {reason} ({len(names)}): {listing(names)}" for reason, names in report.found.skipped.items()]
    corrected = defaultdict(list)
    for case, notes in report.notes.items():
        for note in notes:
            corrected[note].append(case)
    lines += [f"Corrected, {note} ({len(cases)}): {listing(cases)}" for note, cases in corrected.items()]
    if report.missing:
        lines.append(f"Missing ({len(report.missing)}): {listing(report.missing)}")
    lines += [f"Failed, {case}: {error}" for case, error in report.errors.items()]
    return "\n".join(lines)


def _counts(report: Report, role: Role, in_split: int) -> tuple[int, ...]:
    written = report.of(role, report.written)
    missing = len(report.of(role, set(report.missing)))
    return (
        in_split,
        in_split - missing,
        len(written),
        len(written) - len(report.of(role, report.with_label)),
        len(report.of(role, report.errors)),
        missing,
    )

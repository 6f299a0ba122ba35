"""``nnUNetv2_crln_hide_labels``: a semi-supervised dataset out of a labelled one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nnunetv2_crln.dataset_conversion.common.roles import Role
from nnunetv2_crln.errors import listing
from nnunetv2_crln.layout import DATASET_RECORD
from nnunetv2_crln.raw_dataset.dataset_argument import dataset_id
from nnunetv2_crln.utilities.advice import PREPROCESS, command_line
from nnunetv2_crln.utilities.argument_types import plain_name, whole_number
from nnunetv2_crln.utilities.command_parser import CommandParser
from nnunetv2_crln.utilities.print_warnings import print_warnings
from nnunetv2_crln.utilities.run_command import run

if TYPE_CHECKING:
    from nnunetv2_crln.dataset_conversion.hide_labels.plan import HidingPlan

DESCRIPTION = """\
Make a semi-supervised dataset out of a labelled one in nnUNet_raw.

A few labelled cases stay in imagesTr/labelsTr. All others go to imagesUl; their labels go to labelsUl, from which no
training learns: they only measure how good pseudo labels are. Test images are kept. The labelled cases are written into
dataset.json. Labels stored as floating point, or with a header slightly off their image's, are rewritten and reported.
"""
EXAMPLE = """\
nnUNetv2_convert_MSD_dataset -i Task04_Hippocampus
%(prog)s -d 4 -o 104 --num_labelled 8 --seed 0
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    run(lambda: command(arguments))


def command(arguments: Sequence[str] | None = None) -> None:
    """Run the command and let errors pass."""
    options = build_parser().parse_args(arguments)
    # Imported after parsing: --help need not wait for SimpleITK.
    from nnunetv2_crln.dataset_conversion.hide_labels.plan import LabelChoice, make_plan
    from nnunetv2_crln.dataset_conversion.hide_labels.write import write

    choice = LabelChoice(
        options.num_labelled, options.labelled_cases, options.test_cases, options.add_test_images, options.seed
    )
    plan = make_plan(options.d, options.o, choice, options.name)
    print(_describe(plan))
    if options.dry_run:
        print("Dry run: nothing was written.")
        return
    notes, warnings = write(plan, options.copy, options.np)
    for note in notes:
        print(note)
    print_warnings(warnings)
    next_step = command_line(PREPROCESS, "-d", options.o, "--verify_dataset_integrity")
    print(f"Wrote {plan.target}. Next: {next_step}")


def _describe(plan: HidingPlan) -> str:
    lines = [f"{plan.source.name} -> {plan.target}"]
    for role in (Role.LABELLED, Role.UNLABELLED, Role.TEST):
        cases = plan.of(role)
        with_label = sum(case.label is not None for case in cases)
        lines.append(f"  {role.images}: {len(cases):4d} {role.value}, {with_label} with a label in {role.labels}")
    lines.append(f"  labelled cases: {', '.join(plan.dataset_json[DATASET_RECORD]['labelled_cases'])}")
    if plan.left_out:
        lines.append(f"  left out: {len(plan.left_out)} test images of the source: {listing(plan.left_out)}")
    return "\n".join(lines)


def build_parser() -> CommandParser:
    """Build the parser of the command."""
    parser = CommandParser("nnUNetv2_crln_hide_labels", DESCRIPTION, EXAMPLE)
    parser.add_argument("-d", type=dataset_id, required=True, metavar="ID", help="number of the labelled dataset")
    parser.add_argument(
        "-o", type=whole_number(1, 999), required=True, metavar="ID", help="number of the dataset to make"
    )
    labelled = parser.add_mutually_exclusive_group(required=True)
    labelled.add_argument(
        "--num_labelled",
        type=whole_number(),
        metavar="N",
        help="draw N labelled cases; with one seed, the cases of a smaller N are among those of a larger one",
    )
    labelled.add_argument(
        "--labelled_cases", type=Path, metavar="FILE", help="keep these: one case name per line, or a JSON list"
    )
    parser.add_argument("--seed", type=whole_number(0), default=0, help="seed of the draw (default: %(default)s)")
    parser.add_argument(
        "--name", type=plain_name, help="name of the new dataset after its number (default: as the source)"
    )
    parser.add_argument(
        "--test_cases",
        type=Path,
        metavar="FILE",
        help="labelled cases that become the test set (imagesTs/labelsTs), for data whose test labels are withheld; "
        "the source's own test images are then left out",
    )
    parser.add_argument(
        "--add_test_images",
        action="store_true",
        help="use the source's test images as unlabelled images; they are then no test images any more",
    )
    parser.add_argument(
        "--copy",
        action="store_true",
        help="copy the files; by default symbolic links to the source are made, which cost no disk space",
    )
    parser.add_processes()
    parser.add_argument("--dry_run", action="store_true", help="only print what would be written")
    return parser


if __name__ == "__main__":
    main()

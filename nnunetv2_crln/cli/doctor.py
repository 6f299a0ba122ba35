"""``nnUNetv2_crln_doctor``: check that everything is installed, found and set up."""

import sys
from collections.abc import Sequence

from nnunetv2_crln.raw_dataset.dataset_argument import dataset_id
from nnunetv2_crln.utilities.command_parser import CommandParser
from nnunetv2_crln.utilities.run_command import run


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; exit with status 1 if there are problems."""
    run(lambda: command(arguments))


def command(arguments: Sequence[str] | None = None) -> None:
    """Run the command and let errors pass."""
    options = build_parser().parse_args(arguments)
    # Imported after parsing: --help need not wait for torch.
    from nnunetv2_crln.doctor.dataset import examine_dataset
    from nnunetv2_crln.doctor.finding import NOTE, OK, PROBLEM, Finding
    from nnunetv2_crln.doctor.installation import examine_installation

    def show(findings: list[Finding]) -> int:
        for finding in findings:
            mark = {OK: "  ok ", NOTE: "   - "}.get(finding.state, f"{finding.state:>8} ")
            print(f"{mark:<9} {finding.name}: {finding.found}")
            if finding.fix:
                print(f"{'':<9} → {finding.fix}")
        return sum(finding.state == PROBLEM for finding in findings)

    problems = show(examine_installation())
    if options.d is not None:
        print()
        problems += show(examine_dataset(options.d, options.np))
    print(f"\n{problems} problem(s) found." if problems else "\nNo problems found.")
    sys.exit(1 if problems else 0)


def build_parser() -> CommandParser:
    """Build the parser of the command."""
    parser = CommandParser(
        "nnUNetv2_crln_doctor",
        "Check versions, where nnU-Net finds the trainer, device and environment variables, and say how to fix what is "
        "missing. Exit status 1 if there are problems.",
        "nnUNetv2_crln_doctor\nnnUNetv2_crln_doctor -d 150",
    )
    parser.add_argument("-d", type=dataset_id, metavar="DATASET", help="also check this dataset, its images included")
    parser.add_processes("processes that read images")
    return parser


if __name__ == "__main__":
    main()

"""``nnUNetv2_crln_doctor``: is everything installed, found and set up?"""

import argparse
import sys

from nnunetv2_crln.utilities.run_command import run


def main() -> None:
    """Entry point of the command."""
    run(_doctor)


def _doctor() -> None:
    arguments = _parser().parse_args()
    from nnunetv2_crln.doctor import NOTE, OK, PROBLEM, Finding, examine_dataset, examine_installation

    def show(findings: list[Finding]) -> int:
        for finding in findings:
            mark = {OK: "  ok ", NOTE: "   - "}.get(finding.state, f"{finding.state:>8} ")
            print(f"{mark:<9} {finding.name}: {finding.found}")
            if finding.fix:
                print(f"{'':<9} → {finding.fix}")
        return sum(finding.state == PROBLEM for finding in findings)

    problems = show(examine_installation())
    if arguments.d is not None:
        print()
        problems += show(examine_dataset(arguments.d, arguments.np))
    print(f"\n{problems} problem(s) found." if problems else "\nNo problems found.")
    sys.exit(1 if problems else 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nnUNetv2_crln_doctor",
        description="Versions, where nnU-Net finds the trainer, device, environment variables, and how to fix what is "
        "missing. Exit status 1 if there are problems.",
    )
    parser.add_argument("-d", type=int, metavar="ID", help="also check this dataset, its images included")
    parser.add_argument("-np", type=int, default=4, metavar="N", help="processes that read images; default: 4")
    return parser


if __name__ == "__main__":
    main()

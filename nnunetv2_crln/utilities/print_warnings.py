"""Tell the user of a command what may be wrong, in the same way everywhere."""

import sys
from collections.abc import Iterable


def print_warnings(warnings: Iterable[str]) -> None:
    """Print warnings on stderr."""
    for warning in warnings:
        print(f"Warning: {warning}", file=sys.stderr)

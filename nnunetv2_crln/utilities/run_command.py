"""Start every command of this package, and report its errors, in the same way."""

import io
import sys
from collections.abc import Callable

from nnunetv2_crln.errors import UserError


def run(command: Callable[[], None]) -> None:
    """Run a command; turn a :class:`UserError` into one message on stderr and exit status 2, without a traceback."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal or log that cannot show a character (× in an ASCII locale) must not end the command.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        command()
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("Interrupted. Run the same command again to continue.", file=sys.stderr)
        sys.exit(130)

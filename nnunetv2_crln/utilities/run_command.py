"""Start every command of this package, and report its errors, in the same way."""

import errno
import io
import sys
from collections.abc import Callable

from nnunetv2_crln.errors import UserError

_NAMES = (  # Windows lacks some
    *("EACCES", "EPERM", "EROFS", "ENOSPC", "EDQUOT", "EFBIG", "EIO", "ESTALE"),
    *("EEXIST", "ENOTDIR", "EISDIR", "ENAMETOOLONG", "ELOOP"),
)
ENVIRONMENT = {getattr(errno, name) for name in _NAMES if hasattr(errno, name)}
"""Errors of the place where files lie, as opposed to mistakes of this package."""


def run(command: Callable[[], None]) -> None:
    """Run a command, and report what the user can mend as one message on stderr, without a traceback.

    A :class:`UserError` and an error of the file system end with status 2, Ctrl-C with 130.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal or log that cannot show a character (× in an ASCII locale) must not end the command.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        command()
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno not in ENVIRONMENT:
            raise
        files = " → ".join(str(file) for file in (error.filename, error.filename2) if file)
        place = f"{files}: " if files else ""
        print(
            f"Error: {place}{error.strerror}. Check the path, its permissions and the free disk space, then run the "
            "same command again.",
            file=sys.stderr,
        )
        sys.exit(2)
    except KeyboardInterrupt:
        print("Interrupted. Run the same command again to continue.", file=sys.stderr)
        sys.exit(130)

"""How a command ends."""

import errno
import io
import sys

import pytest

from nnunetv2_crln.errors import UserError
from nnunetv2_crln.utilities.run_command import run

ADVICE = "Check the path, its permissions and the free disk space, then run the same command again.\n"


def raising(error: BaseException):
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (UserError("no such folder"), 2, "Error: no such folder\n"),
        (
            PermissionError(errno.EACCES, "Permission denied", "/data/imagesUl"),
            2,
            f"Error: /data/imagesUl: Permission denied. {ADVICE}",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device", "/a/x", None, "/b/x"),
            2,
            f"Error: /a/x → /b/x: No space left on device. {ADVICE}",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            2,
            f"Error: No space left on device. {ADVICE}",
        ),
        (
            FileExistsError(errno.EEXIST, "File exists", "results"),
            2,
            f"Error: results: File exists. {ADVICE}",
        ),
        (
            NotADirectoryError(errno.ENOTDIR, "Not a directory", "file/sub"),
            2,
            f"Error: file/sub: Not a directory. {ADVICE}",
        ),
        (
            IsADirectoryError(errno.EISDIR, "Is a directory", "table.txt"),
            2,
            f"Error: table.txt: Is a directory. {ADVICE}",
        ),
        (KeyboardInterrupt(), 130, "Interrupted. Run the same command again to continue.\n"),
    ],
)
def test_mistakes_and_interruptions_are_one_line_and_a_status(capsys, error, status, text):
    with pytest.raises(SystemExit) as ended:
        run(raising(error))
    assert ended.value.code == status
    assert capsys.readouterr().err == text


def test_other_errors_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        run(lambda: print(1 // 0))
    with pytest.raises(FileNotFoundError):  # a path of ours that is wrong
        run(raising(FileNotFoundError(errno.ENOENT, "No such file", "x")))


def test_a_terminal_without_a_character_shows_a_question_mark(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    run(lambda: print("1 × 2"))
    sys.stdout.flush()
    assert raw.getvalue() == b"1 ? 2\n"

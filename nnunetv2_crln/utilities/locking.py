"""Lock folders until the process that holds the lock ends, even by kill -9.

Linux and macOS use POSIX record locks. Forked loader workers do not inherit them and so cannot keep the lock of a
killed training alive, as they would with ``flock`` (and filelock, which uses it). POSIX locks also work on network file
systems (NFS). Windows uses ``msvcrt.locking``, which has no shared locks, so ``shared=True`` has no effect there.
"""

import contextlib
import errno
import os
import re
import socket
import time
from pathlib import Path
from types import TracebackType

from nnunetv2_crln.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_TAKEN = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
_FAR_AWAY = 1 << 30  # Windows keeps others from reading locked bytes: lock one behind the text


def _holder(note: str) -> str:
    """Return what the lock file says of its holder, unless that process of this computer has ended.

    A killed process leaves its note behind, and those that share a lock write none.
    """
    match = re.match(r"process (\d+) on (\S+) since ", note)
    if match and match[2] == socket.gethostname() and os.name == "posix":
        try:
            os.kill(int(match[1]), 0)
        except ProcessLookupError:
            return "holder unknown"
        except OSError:  # another user's
            return note
    return note or "holder unknown"


class FolderLock:
    """Lock a folder by a lock on a file in it; the file may stay behind, only the lock on it counts.

    Args:
        path: Lock file; its folder must exist.
        shared: Let several processes hold the lock, provided that all of them ask for a shared one.
    """

    def __init__(self, path: str | Path, shared: bool = False) -> None:
        self.path, self.shared = Path(path), shared
        self._file: int | None = None

    def acquire(self, refusal: str) -> None:
        """Take the lock or fail at once; do nothing if this object already holds it.

        Args:
            refusal: Message for the user if another process holds the lock; that process is appended.

        Raises:
            UserError: Another process holds the lock.
        """
        if self._file is not None or (fcntl is None and self.shared):
            return
        try:
            file = self._open()
        except OSError:
            if self.shared:
                return  # this process can only read the folder, and nobody has locked it yet
            raise
        try:
            self._lock(file)
        except OSError as error:
            holder = _holder(os.read(file, 200).decode(errors="replace").strip())
            os.close(file)
            if error.errno in _TAKEN:
                raise UserError(f"{refusal} (lock {self.path}, {holder})") from None
            # Some cluster file systems are mounted without locks; a training is worth more than its guard.
            print(f"WARNING: {self.path.parent} cannot be locked ({error.strerror}): start nothing twice in it.")
            return
        if not self.shared:
            os.ftruncate(file, 0)
            os.write(file, f"process {os.getpid()} on {socket.gethostname()} since {time.ctime()}\n".encode())
        self._file = file

    def _open(self) -> int:
        try:
            return os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:
            if not self.shared:
                raise
            return os.open(self.path, os.O_RDONLY)  # the file of another user; reading suffices for a shared lock

    def _lock(self, file: int) -> None:
        if fcntl is not None:
            fcntl.lockf(file, (fcntl.LOCK_SH if self.shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        else:
            import msvcrt

            os.lseek(file, _FAR_AWAY, os.SEEK_SET)
            try:
                msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
            finally:
                os.lseek(file, 0, os.SEEK_SET)

    @property
    def is_held(self) -> bool:
        """Tell whether this object holds the lock; where a file system has no locks, it never does."""
        return self._file is not None

    def release(self) -> None:
        """Release the lock; do nothing if it is not held."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                if not self.shared:
                    os.ftruncate(self._file, 0)
                os.close(self._file)
            self._file = None

    def __enter__(self) -> "FolderLock":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

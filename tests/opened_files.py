"""Names of the files that any process opens in a folder, whatever language or library it uses (Linux's inotify)."""

from __future__ import annotations

import ctypes
import os
import select
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

IN_ACCESS, IN_MODIFY, IN_OPEN = 0x1, 0x2, 0x20
_EVENT = struct.Struct("iIII")


class OpenedFiles:
    """Watches one folder inside a ``with`` block.

    Attributes:
        opened: Names of the files that were opened or read; filled at the end of the block.
        written: Names of those that were changed.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = os.fsencode(folder)
        self.opened: set[str] = set()
        self.written: set[str] = set()

    def __enter__(self) -> OpenedFiles:
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = libc.inotify_init1(os.O_NONBLOCK)
        if (
            self._descriptor < 0
            or libc.inotify_add_watch(self._descriptor, self._folder, IN_ACCESS | IN_MODIFY | IN_OPEN) < 0
        ):
            raise OSError(ctypes.get_errno(), "inotify does not watch the folder")
        return self

    def __exit__(self, *_) -> None:
        while select.select([self._descriptor], [], [], 0.1)[0]:
            events = os.read(self._descriptor, 1 << 16)
            while events:
                _, mask, _, length = _EVENT.unpack_from(events)
                # Without a name: the folder itself, whose listing tells names alone.
                name = events[_EVENT.size : _EVENT.size + length].rstrip(b"\0").decode()
                if name:
                    (self.written if mask & IN_MODIFY else self.opened).add(name)
                events = events[_EVENT.size + length :]
        os.close(self._descriptor)


@contextmanager
def none_opened(folder: str | Path) -> Iterator[None]:
    """Fail if the ``with`` block opens a file of the folder; other systems than Linux cannot tell."""
    if sys.platform != "linux":
        yield
        return
    with OpenedFiles(folder) as watch:
        yield
    assert not watch.opened

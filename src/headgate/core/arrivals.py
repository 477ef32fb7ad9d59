"""Tells at once that a file was put in place in a directory: waiting for it costs nothing, where looking would.

Linux's inotify, which the standard library does not have. It tells of renames by processes of this machine only.
"""

import ctypes
import os
import struct
from pathlib import Path

_IN_MOVED_TO = 0x80
_IN_MOVE_SELF = 0x800
_IN_UNMOUNT, _IN_IGNORED = 0x2000, 0x8000
_EVENT = struct.Struct("iIII")  # watch mask cookie name_bytes
_READ_BYTES = 16 << 10
_libc = ctypes.CDLL(None, use_errno=True)


class Arrivals:
    """A descriptor that becomes readable when a file is renamed into ``directory``.

    ``is_open`` is False where the kernel lends none (a user has 128 by default), and once the directory itself has
    gone: whoever waits must look by itself.
    """

    def __init__(self, directory: Path) -> None:
        self._fd: int = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        wanted = _IN_MOVED_TO | _IN_MOVE_SELF
        self.is_open: bool = self._fd >= 0 and _libc.inotify_add_watch(self._fd, os.fsencode(directory), wanted) >= 0

    def fileno(self) -> int:
        """To wait on; -1 when there is none."""
        return self._fd

    def take_note(self) -> None:
        """Read what was told, so that the next arrival is told again."""
        try:
            told = os.read(self._fd, _READ_BYTES)
        except OSError:  # nothing, or closed
            return
        at = 0
        while at < len(told):
            _, mask, _, name_bytes = _EVENT.unpack_from(told, at)
            at += _EVENT.size + name_bytes
            self.is_open = self.is_open and not mask & (_IN_MOVE_SELF | _IN_UNMOUNT | _IN_IGNORED)

    def close(self) -> None:
        """Give the descriptor back."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self.is_open = -1, False

"""The data directory: its layout, its rights, its lock."""

import contextlib
import fcntl
import json
import os
import stat
import time
import weakref
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from headgate.core.errors import HomeError
from headgate.core.ids import monotonic_s

_LOCK_POLL_S = 0.05
_SOCKET_PATH_LIMIT = 100
"""Linux takes 107 bytes; longer ones go through the directory's descriptor."""


@dataclass(frozen=True, kw_only=True)
class ServerInfo:
    """Who serves a home: written to run/server.json while a server runs."""

    pid: int
    url: str
    started_at_us: int
    version: str
    is_stopping: bool = False
    restarts: int = 0  # how often its workers were all replaced


class Home:
    """HEADGATE_HOME: one server's files."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.run = self.path / "run"
        self._run_descriptor: int | None = None

    def prepare(self) -> None:
        """Create the directory (mode 0700) where it is missing; raises HomeError when it cannot be used."""
        try:
            for directory in (self.path, self.run, self.path / "spool", self.path / "bodies", self.path / "snapshot"):
                directory.mkdir(mode=0o700, parents=directory == self.path, exist_ok=True)
            (self.path / "tmp").mkdir(mode=0o700, exist_ok=True)
            mode = self.path.stat().st_mode
        except OSError as error:
            raise HomeError(
                f"The data directory {self.path} cannot be created: {error.strerror}.",
                hint="Name another: --home DIR or HEADGATE_HOME.",
            ) from error
        if stat.S_IMODE(mode) & 0o077:
            raise HomeError(
                f"The data directory {self.path} is open to other users (mode {stat.S_IMODE(mode):04o}); "
                "it holds prompts and answers.",
                hint=f"Close it: chmod 700 {self.path}",
            )
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise HomeError(
                f"The data directory {self.path} is not writable.",
                hint="Give this user rights (chown) or name another: --home DIR.",
            )

    @contextlib.contextmanager
    def locked(self, *, wait_s: float = 5.0) -> Iterator[int]:
        """Hold the home for one process tree. Raises HomeError naming the holder's PID: at once when that is a server
        that serves, after ``wait_s`` when it is a command or a server that ends.

        Yields the lock's descriptor: a child that inherits it holds the home too, until it ends.
        """
        descriptor = os.open(self.run / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            deadline_s = monotonic_s() + wait_s
            while not _try_lock(descriptor):
                holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
                if monotonic_s() >= deadline_s or self._is_served_by(holder):
                    raise self._held(holder)
                time.sleep(_LOCK_POLL_S)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield descriptor
        finally:
            os.close(descriptor)

    def _is_served_by(self, pid: str) -> bool:
        """Whether this PID is a server that goes on running, so that waiting for it is of no use."""
        info = self._announced()
        return (
            info is not None
            and str(info.pid) == pid
            and info.pid != os.getpid()  # left by a former container, whose processes had the same numbers
            and not info.is_stopping
            and _is_running(info.pid)
        )

    def _held(self, pid: str) -> HomeError:
        info = self._announced()
        where = f" at {info.url}" if info is not None and str(info.pid) == pid else ""
        return HomeError(
            f"The data directory {self.path} is in use by PID {pid or 'unknown'}{where}.",
            code="home_locked",
            hint="Stop that server, or give this one another home: --home DIR.",
        )

    def socket_address(self, name: str) -> str:
        """The address of the Unix socket run/``name``.sock, short enough for the kernel; good while this Home lives."""
        path = str(self.run / f"{name}.sock")
        if len(os.fsencode(path)) <= _SOCKET_PATH_LIMIT:
            return path
        if self._run_descriptor is None:
            self._run_descriptor = os.open(self.run, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            weakref.finalize(self, os.close, self._run_descriptor)
        return f"/proc/self/fd/{self._run_descriptor}/{name}.sock"

    def announce(self, info: ServerInfo) -> None:
        """Write run/server.json."""
        temporary = self.run / "server.json.new"
        temporary.write_text(json.dumps(asdict(info)))
        temporary.replace(self.run / "server.json")

    def withdraw(self) -> None:
        """Remove run/server.json."""
        (self.run / "server.json").unlink(missing_ok=True)

    def server(self) -> ServerInfo | None:
        """Who serves this home now; None when nobody does (a stale file of a killed server does not count)."""
        info = self._announced()
        return info if info is not None and _is_running(info.pid) and self._is_locked() else None

    def _announced(self) -> ServerInfo | None:
        """What run/server.json says; None when there is none or it is damaged."""
        try:
            info = ServerInfo(**json.loads((self.run / "server.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None
        return info if isinstance(info.pid, int) and isinstance(info.url, str) else None

    def _is_locked(self) -> bool:
        try:
            descriptor = os.open(self.run / "lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return not _try_lock(descriptor)
        finally:
            os.close(descriptor)


def _is_running(pid: int) -> bool:
    """Whether there is such a process; one that has ended and is only waited for is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:1] not in (["Z"], ["X"])
    except OSError:
        return False


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True

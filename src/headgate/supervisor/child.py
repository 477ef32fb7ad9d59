"""One process of the tree: started, told ready by a pipe, started again when it dies."""

import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

from headgate.core.ids import monotonic_s

_QUICK_DEATH_S = 10.0
_BACKOFF_S = (0.0, 0.0, 0.5, 1.0, 2.0, 5.0)
_PR_SET_PDEATHSIG = 1
_SECRET_LIMIT = 4096


class Child:
    """One process of the tree, and how to start it again."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        environ: Mapping[str, str],
        descriptors: Sequence[int],
        *,
        tells_ready: bool = True,
        secret: tuple[str, bytes] | None = None,  # an option, and what is to be read once from the pipe it names
    ) -> None:
        self.name = name
        self._secret = secret
        self._tells_ready = tells_ready
        self._arguments = arguments
        self._environ = dict(environ)
        self._descriptors = descriptors
        self._ready_fd = -1
        self._early_deaths = 0
        self._started_at_s = 0.0
        self._start_at_s: float | None = None  # when to try again
        self.process: subprocess.Popen[bytes] | None = None
        self.is_ready = False

    def start(self, *, wait_fd: int | None = None) -> None:
        """Start it; it writes a byte to its ready pipe once it serves. ``wait_fd``: a pipe from which it waits for
        a byte before it begins, this once.
        """
        reader, writer = os.pipe()
        parent = os.getpid()
        handed = [] if self._secret is None else [_pipe_holding(self._secret[1])]

        def prepare() -> None:
            # Between fork and exec: die with the supervisor, with default signals.
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != parent:
                os._exit(1)

        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", *self._arguments),
                *(("--ready-fd", str(writer)) if self._tells_ready else ()),
                *((self._secret[0], str(handed[0])) if self._secret is not None else ()),
                *(("--wait-fd", str(wait_fd)) if wait_fd is not None else ()),
            ],
            env=self._environ,
            pass_fds=(*self._descriptors, writer, *handed, *(() if wait_fd is None else (wait_fd,))),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=prepare,
        )
        for descriptor in (writer, *handed):
            os.close(descriptor)
        if self._ready_fd >= 0:
            os.close(self._ready_fd)
        self._ready_fd = reader
        self.is_ready = not self._tells_ready
        self._started_at_s = monotonic_s()
        self._start_at_s = None

    @property
    def ready_fd(self) -> int:
        """Readable when it serves, or has died."""
        return self._ready_fd

    def check_ready(self) -> None:
        """Take note of a byte in the ready pipe."""
        if not self.is_ready and self._ready_fd >= 0 and select.select([self._ready_fd], [], [], 0)[0]:
            self.is_ready = os.read(self._ready_fd, 1) != b""

    def exit_code(self) -> int | None:
        """The exit code of a process that ended; None while it runs or was never started."""
        return None if self.process is None else self.process.poll()

    def revive(self) -> bool:
        """Start it again when it has died and its pause is over; True when it was started."""
        if self.process is not None and self.process.poll() is not None and self._start_at_s is None:
            lived_s = monotonic_s() - self._started_at_s
            self._early_deaths = self._early_deaths + 1 if lived_s < _QUICK_DEATH_S else 0
            pause_s = _BACKOFF_S[min(self._early_deaths, len(_BACKOFF_S) - 1)]
            self._start_at_s = monotonic_s() + pause_s
        if self._start_at_s is None or monotonic_s() < self._start_at_s:
            return False
        self.start()
        return True

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it lives."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def wait(self, timeout_s: float) -> bool:
        """Wait for its end; False when the time ran out."""
        if self.process is None:
            return True
        try:
            self.process.wait(max(timeout_s, 0))
        except subprocess.TimeoutExpired:
            return False
        return True


def _pipe_holding(secret: bytes) -> int:
    """The end to read from of a pipe that holds ``secret``, cut to what fits into any pipe: no key is so long."""
    reader, writer = os.pipe()
    with open(writer, "wb") as pipe:
        pipe.write(secret[:_SECRET_LIMIT])
    return reader

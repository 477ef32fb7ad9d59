"""How a worker tells the control process that it has recorded something: a datagram that may be lost.

The control process looks into the spools from time to time in any case; with the bell, seldom while nothing happens.
"""

import contextlib
import select
import socket

from headgate.core.home import Home

_NAME = "ingest"


class Bell:
    """The end that is rung. Any number of rings before it is listened to count as one."""

    def __init__(self, home: Home) -> None:
        path = home.run / f"{_NAME}.sock"
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(home.socket_address(_NAME))
        path.chmod(0o600)
        self._socket.setblocking(False)
        self._rope = Rope(home)

    def wait(self, timeout_s: float) -> bool:
        """Wait until it is rung; False when the time is over first."""
        is_rung = bool(select.select([self._socket], [], [], timeout_s)[0])
        with contextlib.suppress(BlockingIOError):
            while is_rung:
                self._socket.recv(1)
        return is_rung

    def ring(self) -> None:
        """End a ``wait`` of another thread."""
        self._rope.pull()

    def close(self) -> None:
        """Nobody listens any more."""
        self._rope.close()
        self._socket.close()


class Rope:
    """The end that rings. Never waits, never raises: what is not heard is found a little later."""

    def __init__(self, home: Home) -> None:
        self._address = home.socket_address(_NAME)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def pull(self) -> None:
        """Ring."""
        with contextlib.suppress(OSError):
            self._socket.sendto(b"!", self._address)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

"""How the process tree, the workers and the control process speak of model runners: one state file, one mailbox."""

import contextlib
import json
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from headgate.core.home import Home

State = Literal["starting", "ready", "backoff", "quarantined", "stopping"]
MAILBOX = "runners"
"""Datagrams to run/runners.sock: what is wanted running, by hash."""
MAX_WISH_BYTES = 512


@dataclass(frozen=True, kw_only=True)
class RunnerState:
    """One runner as the supervisor last saw it."""

    name: str  # name@7
    state: State
    pid: int | None = None
    reason: str | None = None  # why it is not ready
    retry_at_us: int = 0  # when it is tried again
    restarts: int = 0


def socket_name(sha256: str) -> str:
    """The name of a runner's socket in HOME/run; short, for the kernel's limit."""
    return f"m-{sha256[:20]}"


def read_states(home: Home) -> dict[str, RunnerState]:
    """Every runner by its version's hash; empty where no supervisor runs."""
    try:
        found = json.loads((home.run / "runners.json").read_text())
        return {sha256: RunnerState(**state) for sha256, state in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def write_states(home: Home, states: Mapping[str, RunnerState]) -> None:
    """Replace the state file in one step."""
    temporary = home.run / "runners.json.new"
    temporary.write_text(json.dumps({sha256: asdict(state) for sha256, state in states.items()}))
    temporary.replace(home.run / "runners.json")


def open_mailbox(home: Home) -> socket.socket:
    """The supervisor's end."""
    (home.run / f"{MAILBOX}.sock").unlink(missing_ok=True)
    box = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    box.bind(home.socket_address(MAILBOX))
    (home.run / f"{MAILBOX}.sock").chmod(0o600)
    box.setblocking(False)
    return box


class Wishes:
    """The other end: tells the supervisor what is wanted. Never blocks, never raises."""

    def __init__(self, home: Home) -> None:
        self._address = home.socket_address(MAILBOX)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def send(self, sha256: str, *, retry: bool = False) -> bool:
        """This version is used; ``retry``: forget that it failed. False: nobody listens."""
        with contextlib.suppress(OSError):
            self._socket.sendto(json.dumps({"sha256": sha256, "retry": retry}).encode(), self._address)
            return True
        return False

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

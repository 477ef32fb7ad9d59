"""The gateway workers of one server: started together, replaced one after the other without a refused request."""

import signal
from collections.abc import Callable, Mapping
from pathlib import Path

from headgate.core.ids import monotonic_s
from headgate.core.settings import Server
from headgate.supervisor.child import Child

_READY_S = 30.0
_KILL_AFTER_DRAIN_S = 2.0


class Workers:
    """The workers that serve, the one that is about to, and those that only end what they began.

    A worker and its replacement have two numbers, ``n`` and ``n + workers``, by turns: each writes a file of counters
    of its own, so that the totals of all files never fall.
    """

    def __init__(
        self, home: Path, server: Server, environ: Mapping[str, str], listen_fd: int, say: Callable[[str], None]
    ) -> None:
        self._home, self._environ, self._listen_fd, self._say = home, environ, listen_fd, say
        self._count, self._drain_s = server.workers, server.drain_s
        self.restarts = 0
        self.serving = [self._child(number) for number in range(self._count)]
        self._numbers = list(range(self._count))
        self._to_replace: list[int] = []  # places in `serving`
        self._next: Child | None = None
        self._next_until_s = 0.0
        self._leaving: list[tuple[Child, float]] = []  # and when it is ended

    def _child(self, number: int) -> Child:
        arguments = (
            *("headgate.gateway.main", "--home", str(self._home)),
            *("--number", str(number), "--fd", str(self._listen_fd)),
        )
        return Child(f"worker {number}", arguments, self._environ, (self._listen_fd,))

    @property
    def all(self) -> list[Child]:
        """Every worker process there is."""
        return [*self.serving, *([self._next] if self._next else []), *(child for child, _ in self._leaving)]

    @property
    def is_replacing(self) -> bool:
        """Whether workers are still to be replaced."""
        return bool(self._to_replace) or self._next is not None

    @property
    def is_draining(self) -> bool:
        """Whether replaced workers have not ended yet."""
        return bool(self._leaving)

    def start(self, *, wait_fd: int | None = None) -> None:
        """Start all of them; with ``wait_fd`` each serves once it has read a byte from there."""
        for child in self.serving:
            child.start(wait_fd=wait_fd)

    def replace_all(self) -> None:
        """Replace every worker, one at a time: the new one serves before the old one stops accepting."""
        self._to_replace = list(range(self._count))

    def step(self) -> bool:
        """Go on with what is under way, without waiting; True when the last worker has just been replaced."""
        for child, until_s in list(self._leaving):
            if child.exit_code() is not None:
                self._leaving.remove((child, until_s))
            elif monotonic_s() > until_s:
                self._say(f"{child.name} did not end in {self._drain_s + _KILL_AFTER_DRAIN_S:g} s and was killed.")
                child.signal(signal.SIGKILL)
        if self._next is not None:
            return self._take_over(self._next)
        if self._to_replace and not self._is_number_taken():
            place = self._to_replace[0]
            self._next = self._child(self._other_number(place))
            self._next.start()
            self._next_until_s = monotonic_s() + _READY_S
        return False

    def _other_number(self, place: int) -> int:
        return place + self._count if self._numbers[place] == place else place

    def _is_number_taken(self) -> bool:
        """Whether the worker before the last still drains under the number that is next."""
        name = f"worker {self._other_number(self._to_replace[0])}"
        return any(child.name == name for child, _ in self._leaving)

    def _take_over(self, fresh: Child) -> bool:
        fresh.check_ready()
        if fresh.is_ready:
            place = self._to_replace.pop(0)
            old, self.serving[place] = self.serving[place], fresh
            self._numbers[place] = self._other_number(place)
            self._next = None
            old.signal(signal.SIGUSR2)
            self._leaving.append((old, monotonic_s() + self._drain_s + _KILL_AFTER_DRAIN_S))
            self.restarts += not self._to_replace
            return not self._to_replace
        if fresh.exit_code() is not None or monotonic_s() > self._next_until_s:
            fresh.signal(signal.SIGKILL)
            fresh.wait(5.0)
            self._say(f"{fresh.name} could not take over; the workers that serve stay.")
            self._next, self._to_replace = None, []
        return False

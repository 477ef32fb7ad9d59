"""The model runners of the tree: those an alias points to, and the spare ones that were called lately by number."""

import contextlib
import json
import os
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from headgate.core.arrivals import Arrivals
from headgate.core.errors import HeadgateError
from headgate.core.home import Home
from headgate.core.ids import monotonic_s, now_us
from headgate.core.runner_states import (
    MAX_WISH_BYTES,
    RunnerState,
    State,
    open_mailbox,
    socket_name,
    write_states,
)
from headgate.core.settings import Models
from headgate.snapshot import SnapshotReader, snapshot_path
from headgate.supervisor.child import Child

CRASHES, CRASHES_WITHIN_S = 3, 60.0
QUARANTINE_S = 300.0
IDLE_S = 900.0
_BACKOFF_S = (0.0, 0.5, 1.0)
_BACKLOG = 128
_CANNOT_SERVE = 3


@dataclass(kw_only=True, eq=False)
class _Version:
    """A version of the snapshot."""

    sha256: str
    name: str
    joins: bool
    is_pinned: bool


@dataclass(kw_only=True, eq=False)
class _Runner:
    """One version's process, and what became of the ones before it."""

    version: _Version
    child: Child
    listener: socket.socket
    state: State = "starting"
    reason: str | None = None
    used_s: float = 0.0
    start_at_s: float = 0.0
    crashes: list[float] = field(default_factory=list)
    restarts: int = 0


class Runners:
    """Keeps the processes as the snapshot and the wishes want them. ``say``: a line for people."""

    def __init__(self, home: Home, settings: Models, environ: Mapping[str, str], say: Callable[[str], None]) -> None:
        self._home, self._settings, self._environ, self._say = home, settings, dict(environ), say
        self._reader = SnapshotReader(home.path)
        self._arrivals = Arrivals(snapshot_path(home.path).parent)
        self._versions: dict[str, _Version] = {}
        self._runners: dict[str, _Runner] = {}
        self._leaving: list[_Runner] = []
        self._written: dict[str, RunnerState] | None = None
        self._problem = ""
        for stale in home.run.glob("m-*.sock"):
            stale.unlink(missing_ok=True)
        self.mailbox = open_mailbox(home)

    def wait_on(self) -> list[socket.socket | int]:
        """What becomes readable when a step is due."""
        starting = [r.child.ready_fd for r in self._runners.values() if r.state == "starting" and r.child.ready_fd >= 0]
        return [self.mailbox, *([self._arrivals.fileno()] if self._arrivals.is_open else []), *starting]

    @property
    def is_settled(self) -> bool:
        """Whether nothing is due by the clock soon: what ``wait_on`` and the end of a child tell is enough."""
        is_ready = all(runner.state == "ready" for runner in self._runners.values())
        return is_ready and not self._leaving and self._arrivals.is_open

    def step(self) -> None:
        """Follow the snapshot, the wishes and the processes; called whenever something may have changed."""
        try:
            self._step()
        except OSError as error:  # no sockets or processes left: everything else goes on, and it is tried again
            if str(error) != self._problem:
                self._problem = str(error)
                self._say(f"model runners cannot be looked after ({error}).")

    def _step(self) -> None:
        self._arrivals.take_note()
        wanted = self._read_wishes()
        if self._reader.changed():
            self._follow_snapshot()
        for sha256, retry in wanted.items():
            self._use(sha256, retry)
        for version in self._versions.values():
            if version.is_pinned and version.sha256 not in self._runners:
                self._add(version)
        for runner in list(self._runners.values()):
            self._follow(runner)
        self._stop_spare()
        self._reap()
        self._write()

    # What is wanted.

    def _read_wishes(self) -> dict[str, bool]:
        wanted: dict[str, bool] = {}
        while True:
            try:
                raw = self.mailbox.recv(MAX_WISH_BYTES)
            except OSError:
                return wanted
            with contextlib.suppress(ValueError, KeyError, TypeError):
                wish = json.loads(raw)
                sha256 = str(wish["sha256"])
                wanted[sha256] = wanted.get(sha256, False) or bool(wish["retry"])

    def _follow_snapshot(self) -> None:
        try:
            snapshot = self._reader.load()
        except HeadgateError:
            return
        found: dict[str, _Version] = {}
        for model in snapshot.models.values():
            pinned = model.pinned()
            for number, entry in model.versions.items():
                known = found.get(entry.sha256)
                is_pinned = number in pinned or (known is not None and known.is_pinned)
                name = f"{model.name}@{number}" if known is None else known.name
                found[entry.sha256] = _Version(sha256=entry.sha256, name=name, joins=entry.joins, is_pinned=is_pinned)
        self._versions = found
        for sha256, runner in list(self._runners.items()):
            if sha256 not in found:
                self._leave(runner)
            else:
                if runner.version.is_pinned and not found[sha256].is_pinned:
                    runner.used_s = monotonic_s()  # kept for a while: a rollback finds it running
                runner.version = found[sha256]

    def _use(self, sha256: str, retry: bool) -> None:
        version = self._versions.get(sha256)
        if version is None:
            return
        runner = self._runners.get(sha256) or self._add(version)
        runner.used_s = monotonic_s()
        if retry and runner.state in ("backoff", "quarantined"):
            runner.crashes.clear()
            runner.start_at_s = 0.0
            runner.state = "backoff"

    # Their processes.

    def _add(self, version: _Version) -> _Runner:
        name = socket_name(version.sha256)
        path = self._home.run / f"{name}.sock"
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(self._home.socket_address(name))
        path.chmod(0o600)
        listener.listen(_BACKLOG)
        arguments = (
            *("headgate.runtimes.runner", "--name", version.name, "--sha256", version.sha256),
            *("--bundle", str(self._home.path / "models" / version.sha256), "--fd", str(listener.fileno())),
            *("--memory-mb", str(self._settings.memory_mb), "--timeout-s", str(self._settings.timeout_s)),
            *(() if version.joins else ("--alone",)),
        )
        child = Child(f"model runner {version.name}", arguments, self._environ, (listener.fileno(),))
        runner = _Runner(version=version, child=child, listener=listener, used_s=monotonic_s())
        self._runners[version.sha256] = runner
        child.start()
        return runner

    def _follow(self, runner: _Runner) -> None:
        if runner.state in ("backoff", "quarantined"):
            if monotonic_s() >= runner.start_at_s:
                runner.state = "starting"
                runner.restarts += 1
                runner.child.start()
            return
        code = runner.child.exit_code()
        if code is not None:
            self._ended(runner, code)
            return
        runner.child.check_ready()
        if runner.child.is_ready and runner.state == "starting":
            runner.state, runner.reason = "ready", None

    def _ended(self, runner: _Runner, code: int) -> None:
        now_s = monotonic_s()
        how = f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
        if code == -signal.SIGALRM:
            how = f"a call took over {self._settings.timeout_s:g} s"
        runner.crashes = [at for at in runner.crashes if now_s - at < CRASHES_WITHIN_S] + [now_s]
        count = len(runner.crashes)
        if code == _CANNOT_SERVE or count >= CRASHES:
            runner.state, runner.start_at_s = "quarantined", now_s + QUARANTINE_S
            what = "cannot be served" if code == _CANNOT_SERVE else f"ended {count} times in {CRASHES_WITHIN_S:g} s"
            runner.reason = f"{what} ({how})"
            self._say(
                f"model runner {runner.version.name} {runner.reason}; it rests for {QUARANTINE_S:g} s. "
                f"Try it now: headgate model test {runner.version.name}"
            )
        else:
            runner.state, runner.start_at_s = "backoff", now_s + _BACKOFF_S[min(count - 1, len(_BACKOFF_S) - 1)]
            runner.reason = f"its process ended ({how})"
            self._say(f"model runner {runner.version.name} ended ({how}) and is started again.")

    def _stop_spare(self) -> None:
        """Of the versions no alias points to, the ones used last stay, and no longer than they are of use."""
        spare = [runner for runner in self._runners.values() if not runner.version.is_pinned]
        spare.sort(key=lambda runner: runner.used_s, reverse=True)
        now_s = monotonic_s()
        for place, runner in enumerate(spare):
            if place >= self._settings.spare or now_s - runner.used_s > IDLE_S:
                self._leave(runner)

    def _leave(self, runner: _Runner) -> None:
        """Take no more calls; it ends once the workers have theirs answered."""
        del self._runners[runner.version.sha256]
        (self._home.run / f"{socket_name(runner.version.sha256)}.sock").unlink(missing_ok=True)
        runner.child.signal(signal.SIGTERM)
        runner.state = "stopping"
        runner.start_at_s = monotonic_s() + self._settings.timeout_s + 15
        self._leaving.append(runner)

    def _reap(self) -> None:
        for runner in list(self._leaving):
            is_over = runner.child.process is None or runner.child.exit_code() is not None
            if not is_over and monotonic_s() > runner.start_at_s:
                runner.child.signal(signal.SIGKILL)
            if is_over:
                self._leaving.remove(runner)
                runner.listener.close()
                with contextlib.suppress(OSError):
                    os.close(runner.child.ready_fd)

    def _write(self) -> None:
        offset_us = now_us() - int(monotonic_s() * 1e6)
        states = {
            sha256: RunnerState(
                name=runner.version.name,
                state=runner.state,
                pid=_pid(runner),
                reason=runner.reason,
                retry_at_us=int(runner.start_at_s * 1e6) + offset_us if runner.state in _RESTING else 0,
                restarts=runner.restarts,
            )
            for sha256, runner in self._runners.items()
        }
        if self._written is None or _differs(states, self._written):
            self._written = states
            with contextlib.suppress(OSError):
                write_states(self._home, states)

    # The end.

    def stop(self, timeout_s: float) -> None:
        """End all of them; the workers are gone by now."""
        for runner in list(self._runners.values()):
            self._leave(runner)
        deadline_s = monotonic_s() + timeout_s
        for runner in self._leaving:
            if not runner.child.wait(deadline_s - monotonic_s()):
                runner.child.signal(signal.SIGKILL)
                runner.child.wait(5.0)
        self._reap()
        self.mailbox.close()
        self._arrivals.close()
        for name in ("runners.json", "runners.sock"):
            (self._home.run / name).unlink(missing_ok=True)


_RESTING: tuple[State, ...] = ("backoff", "quarantined")


def _pid(runner: _Runner) -> int | None:
    return None if runner.child.process is None or runner.state in _RESTING else runner.child.process.pid


def _differs(states: Mapping[str, RunnerState], before: Mapping[str, RunnerState]) -> bool:
    def facts(found: Mapping[str, RunnerState]) -> dict[str, tuple[object, ...]]:
        return {key: (one.name, one.state, one.pid, one.reason, one.restarts) for key, one in found.items()}

    return facts(states) != facts(before)

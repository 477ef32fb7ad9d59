"""One gateway worker in a process of its own, with a published snapshot and a readable spool."""

import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from headgate.core.home import Home
from headgate.core.ids import now_us
from headgate.core.settings import Settings
from headgate.snapshot import KbEntry, KeyEntry, PromptEntry, Snapshot, next_generation, publish
from headgate.spool.counters import read_counters
from headgate.spool.reader import Bodies, SpoolReader, read_bodies, spools
from headgate.spool.record import FinalRecord, StartRecord


class WorkerProcess:
    """Starts `headgate.gateway.main` on a loopback port."""

    def __init__(
        self,
        path: Path,
        settings: Settings,
        keys: Mapping[str, KeyEntry] | None = None,
        program: Sequence[str] = ("-m", "headgate.gateway.main"),
    ) -> None:
        self._program = program
        self._since_us = 0
        self.home = Home(path / "home")
        self.home.prepare()
        self.publish(settings, keys)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.set_inheritable(True)
        self.port = int(self._listener.getsockname()[1])
        self.process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        reader, writer = os.pipe()
        process = subprocess.Popen(
            [
                *(sys.executable, *self._program, "--home", str(self.home.path), "--number", "0"),
                *("--fd", str(self._listener.fileno()), "--ready-fd", str(writer)),
            ],
            pass_fds=(self._listener.fileno(), writer),
        )
        os.close(writer)
        assert select.select([reader], [], [], 60)[0], "the worker did not start"
        assert os.read(reader, 1), "the worker ended at start"
        os.close(reader)
        return process

    def restart(self) -> None:
        """A new process on the same socket and home."""
        self.process = self._start()

    def publish(
        self,
        settings: Settings,
        keys: Mapping[str, KeyEntry] | None = None,
        prompts: Mapping[str, PromptEntry] | None = None,
        kbs: Mapping[str, KbEntry] | None = None,
    ) -> None:
        """Give the worker another snapshot."""
        publish(
            self.home.path,
            Snapshot(
                generation=next_generation(self.home.path),
                published_at_us=now_us(),
                settings=settings,
                keys=dict(keys or {}),
                prompts=dict(prompts or {}),
                kbs=dict(kbs or {}),
            ),
        )

    def taken_over(self, *, within_s: float = 30.0) -> None:
        """Wait until the worker serves from what was published last."""
        deadline = time.monotonic() + within_s
        published = next_generation(self.home.path) - 1
        while read_counters(self.home.run / "worker-0.counters").get("generation") != published:
            assert time.monotonic() < deadline, "the worker has not taken over the snapshot"
            time.sleep(0.02)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self.process.terminate()
        assert self.process.wait(20) == 0
        self._listener.close()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self._listener.close()

    def forget(self) -> None:
        """From now on only calls that begin after this are seen: for a worker that several tests share."""
        self._since_us = now_us()

    def connect(self) -> socket.socket:
        """A raw client connection."""
        return socket.create_connection(("127.0.0.1", self.port), 10)

    def entries(self) -> tuple[list[StartRecord], list[FinalRecord]]:
        """Everything in the spools so far, but for what is forgotten."""
        starts: list[StartRecord] = []
        finals: list[FinalRecord] = []
        for spool_id in spools(self.home.path / "spool"):
            reader = SpoolReader(self.home.path / "spool", spool_id)
            position = None
            while batch := reader.read(position, 1000, 64 << 20):
                if not batch.entries:
                    break
                position = batch.position
                starts += [entry.start for entry in batch.entries if entry.start is not None]
                finals += [entry.final for entry in batch.entries if entry.final is not None]
        return (
            [start for start in starts if start.started_at_us >= self._since_us],
            [final for final in finals if final.started_at_us >= self._since_us],
        )

    def recorded(self, count: int = 1, *, within_s: float = 30.0) -> list[FinalRecord]:
        """The final records, once there are ``count`` of them."""
        deadline = time.monotonic() + within_s
        while True:
            finals = self.entries()[1]
            if len(finals) >= count or time.monotonic() > deadline:
                assert len(finals) == count, f"{len(finals)} records, expected {count}"
                return finals
            time.sleep(0.02)

    def bodies(self, request_id: str) -> Bodies:
        """What was captured of one request."""
        for spool_id in spools(self.home.path / "spool"):
            reader = SpoolReader(self.home.path / "spool", spool_id)
            for entry in reader.read(None, 100_000, 1 << 30).entries:
                if entry.final is not None and entry.final.request_id == request_id:
                    found = read_bodies(self.home.path / "spool", spool_id, entry.segment, entry.offset)
                    assert found is not None
                    return found
        raise AssertionError(f"{request_id} is not in the spool")

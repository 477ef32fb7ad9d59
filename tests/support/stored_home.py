"""A home with real spools, a real log and ingest, without the processes around them."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from headgate.control.ingest import BodiesLazy, Ingest, Priced
from headgate.core.ids import now_us, uuid7
from headgate.spool.record import Attempt, Capture, FinalRecord, StartRecord
from headgate.spool.writer import SpoolWriter
from headgate.store.log import Log
from headgate.store.rows import RequestRow
from support.made_homes import copy_home


def flat_price(final: FinalRecord, bodies: BodiesLazy) -> Priced:
    """Every request costs a thousandth of a dollar."""
    return Priced(
        input_tokens=10, output_tokens=5, usage_source="provider", cost_usd=Decimal("0.001"), cost_source="listed"
    )


def _make_log(path: Path) -> None:
    Log.open(path, memory_limit_mb=128).close()


class StoredHome:
    """Writes exchanges the way a worker does and stores them the way control does."""

    def __init__(self, path: Path, *, segment_bytes: int = 1 << 20) -> None:
        if not path.exists():
            copy_home("log", _make_log, path)
        self.path = path
        self.segment_bytes = segment_bytes
        self.seen: list[RequestRow] = []
        self._writer: SpoolWriter | None = None
        self._number = 0
        self.open()

    def open(self) -> None:
        """Open the log and ingest (again)."""
        self.log = Log.open(self.path, memory_limit_mb=128)
        self.ingest = Ingest(self.path, self.log, flat_price, self._saw)

    def _saw(self, rows: Sequence[RequestRow]) -> None:
        self.seen.extend(rows)

    @property
    def writer(self) -> SpoolWriter:
        """The spool of the one worker there is; a new one after ``stop_writing``."""
        if self._writer is None:
            self._writer = SpoolWriter(self.path / "spool", worker=0, segment_bytes=self.segment_bytes)
        return self._writer

    def start(self, *, at_us: int | None = None, **fields: Any) -> StartRecord:
        """Record that a request began."""
        began = now_us() if at_us is None else at_us
        record = StartRecord(
            request_id=uuid7(began),
            started_at_us=began,
            sequence=self.writer.next_sequence(),
            endpoint="openai.chat",
            **fields,
        )
        assert self.writer.append_start(record)
        return record

    def finish(
        self,
        start: StartRecord,
        *,
        request: bytes = b'{"q": 1}',
        response: bytes = b'{"a": 2}',
        sent: bytes = b"",
        capture: Capture = "full",
        **fields: Any,
    ) -> str:
        """Record how it ended; returns the request id."""
        self._number += 1
        final = FinalRecord(
            request_id=start.request_id,
            started_at_us=start.started_at_us,
            sequence=start.sequence,
            endpoint=start.endpoint,
            latency_us=1500,
            request_bytes=len(request),
            response_bytes=len(response),
            attempts=[Attempt(upstream="demo", model="m", status=200, latency_us=1000)],
            capture=capture,
            **{"model": f"model-{self._number % 3}", "user_id": start.user_id, "status": 200, **fields},
        )
        assert self.writer.append_final(final, request, sent, [response])
        return start.request_id

    def exchange(self, *, at_us: int | None = None, **fields: Any) -> str:
        """Record one whole exchange."""
        return self.finish(self.start(at_us=at_us), **fields)

    def store_all(self) -> None:
        """Ingest until nothing is left to read."""
        while self.ingest.step():
            pass

    def stop_writing(self) -> None:
        """End the worker; its spool is then closed by the next ingest."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def close(self) -> None:
        """End everything."""
        self.stop_writing()
        self.log.close()

    def ids(self) -> list[str]:
        """Every request id that the log answers with, in the order stored."""
        return [str(row[0]) for row in self.log.query("SELECT request_id FROM requests ORDER BY seq").rows]

    def segments(self) -> list[Path]:
        """The spool's segment files."""
        return sorted(self.path.glob("spool/*/*.*"))

    def parquet(self) -> list[Path]:
        """The sealed files."""
        return sorted(self.path.glob("bodies/*/*"))

    def files_holding(self, text: bytes) -> list[str]:
        """Every file of the home with ``text`` in it."""
        return [
            str(path.relative_to(self.path))
            for path in sorted(self.path.rglob("*"))
            if path.is_file() and text in path.read_bytes()
        ]

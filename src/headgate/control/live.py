"""One line per stored request on standard output: for people on a terminal, as JSON on a pipe."""

import queue
import threading
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Literal

import msgspec

from headgate.control.rows import clean, iso, money
from headgate.control.words import count, dollars, duration
from headgate.core.ids import utc
from headgate.core.terminal import write_fully
from headgate.pricing.reasons import group_of
from headgate.store.rows import RequestRow

Live = Literal["plain", "json", "off"]
_MAX_WAITING = 10_000
_MAX_CHARS = 200
_BATCH = 64


class LiveOutput:
    """Writes lines from a thread of its own, so that a reader who stands still never holds up the storing."""

    def __init__(self, descriptor: int, style: Literal["plain", "json"]) -> None:
        # Not by a stream of Python's: the lock of one that a thread hangs in aborts the process at its end.
        self._descriptor, self._style = descriptor, style
        self._is_gone = False
        self._waiting: queue.Queue[RequestRow | None] = queue.Queue(_MAX_WAITING)
        self.left_out = 0
        self._thread = threading.Thread(target=self._write_all, name="headgate-live", daemon=True)
        self._thread.start()

    def show(self, rows: Sequence[RequestRow]) -> None:
        """From any thread: show the traffic among these rows; what nobody reads fast enough is left out and counted."""
        for row in rows:
            if row.purpose != "traffic" or self._is_gone:
                continue
            try:
                self._waiting.put_nowait(row)
            except queue.Full:
                self.left_out += 1

    def close(self) -> None:
        """Write what waits, for a second at most."""
        try:
            self._waiting.put_nowait(None)
        except queue.Full:
            return
        self._thread.join(timeout=1.0)

    def _write_all(self) -> None:
        line = plain_line if self._style == "plain" else json_line
        told = 0
        while True:
            rows = [self._waiting.get()]
            while len(rows) < _BATCH and not self._waiting.empty():
                rows.append(self._waiting.get())
            lines = [line(row) for row in rows if row is not None]
            if self.left_out > told:
                lines.append(self._left_out_line(self.left_out - told))
                told = self.left_out
            try:
                write_fully(self._descriptor, "".join(f"{text}\n" for text in lines).encode("utf-8", "replace"))
            except OSError:  # the terminal or pipe is gone
                self._is_gone = True
                return
            if None in rows:
                return

    def _left_out_line(self, number: int) -> str:
        if self._style == "json":
            return f'{{"event":"left_out","requests":{number}}}'
        return f"  {number} requests are not shown here, as nobody read fast enough; they are in the log."


def plain_line(row: RequestRow) -> str:
    """The line for a terminal."""
    asked, answered = row.input_tokens, row.output_tokens
    mark = "~" if row.usage_source == "estimated" else ""
    tokens = f"{mark}{count(asked)}→{mark}{count(answered)} tok" if asked is not None or answered is not None else ""
    prompt = f"{row.prompt_name}@{row.prompt_version}" if row.prompt_version is not None else row.prompt_name
    unknown = "unpriced" if group_of(row.cost_reason) == "unpriced" else ""
    cost = unknown if row.cost_usd is None else mark + dollars(row.cost_usd)
    outcome = row.outcome
    if row.outcome != "ok":
        outcome = " ".join(text for text in (row.outcome, str(row.status or ""), row.error_type or "") if text)
    elif row.status is not None and row.status >= 400:
        outcome = f"status {row.status}"
    model = row.model or row.model_requested or f"{row.method} {row.path}"
    latency = duration(row.latency_ms) if row.latency_ms is not None else ""
    parts = [f"{utc(row.started_at_us):%H:%M:%S}", model, prompt, tokens, cost, latency, outcome]
    return "  ".join(printable(part) for part in parts if part)


def json_line(row: RequestRow) -> str:
    """The line for a pipe: the columns that are known, by CONTRACT's names."""
    found: dict[str, Any] = {
        "request_id": row.request_id,
        "started_at": iso(utc(row.started_at_us).replace(tzinfo=None)),
    }
    for name in _JSON_FIELDS:
        value = getattr(row, name)
        if value is not None:
            found[name] = (
                money(value) if isinstance(value, Decimal) else clean(value) if isinstance(value, str) else value
            )
    return msgspec.json.encode(found).decode()


_JSON_FIELDS = (
    "project", "key_id", "endpoint", "model_requested", "model", "provider", "upstream", "route", "prompt_name",
    "prompt_version", "kb_name", "kb_version", "stream", "status", "outcome", "error_type", "finish_reason",
    "attempts", "fallback_from", "input_tokens", "output_tokens", "cached_input_tokens", "usage_source", "cost_usd",
    "cost_source", "cost_reason", "latency_ms", "ttft_ms", "session_id", "user_id",
)  # fmt: skip


def printable(text: str) -> str:
    """Text that cannot steer a terminal: control characters are escaped, length is bounded."""
    text = text if len(text) <= _MAX_CHARS else text[: _MAX_CHARS - 1] + "…"
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)

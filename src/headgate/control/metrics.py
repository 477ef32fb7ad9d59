"""Prometheus text: the workers' counters, all together, and what the control process knows."""

import re
from typing import Any

from headgate.control import queries
from headgate.control.account import accounts
from headgate.control.state import ControlApp
from headgate.control.status import counters_of, disk_of, health_of, passed_over, summed
from headgate.core.errors import HeadgateError
from headgate.core.ids import now_us

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_GAUGES = frozenset({"in_flight", "open_connections"})
_NOT_SUMMED = frozenset({"generation", "unsynced_ms"})
_HELP = {
    "started": "Requests whose upstream call was begun.",
    "refused_overloaded": "Requests refused because a worker served as many as it may.",
    "refused_disk_full": "Requests refused, and not recorded, because there was no room for their record.",
    "shed": "Of the recorded: without their bodies, for lack of room.",
    "syncs": "Syncs of records to the disk, by durability interval and group.",
    "sync_failures": "Syncs that failed: what they held may not survive a power cut.",
    "recorded": "Requests recorded in the spool.",
    "dropped": "Records that could not be kept.",
    "in_flight": "Requests being served now.",
}
_ACCOUNT = (
    ("started", "counter", "Calls begun, as read from the spools; the sum of the next four."),
    ("recorded", "counter", "Of these: ended, with their record."),
    ("interrupted", "counter", "Of these: their worker ended before they did."),
    ("in_flight", "gauge", "Of these: not ended yet."),
    ("dropped", "counter", "Of these: counted, because the disk had no room for their record."),
    ("twice", "gauge", "Records of the same call."),
)
_NOT_A_NAME = re.compile(r"[^a-z0-9_]")


def metrics_text(control: ControlApp) -> str:
    """Blocking: the whole page."""
    counters = counters_of(control.home.path)
    page = _Page()
    for name, value in sorted(summed(counters).items()):
        if name in _NOT_SUMMED:
            continue
        clean = _NOT_A_NAME.sub("_", name.lower())
        kind = "gauge" if name in _GAUGES else "counter"
        page.add(f"headgate_{clean}" + ("" if kind == "gauge" else "_total"), kind, _HELP.get(name, ""), {}, value)
    unsynced_s = max((values.get("unsynced_ms", 0) for values in counters.values()), default=0) / 1000
    page.add(
        "headgate_unsynced_seconds", "gauge", "Age of the oldest record that no sync of ours covers.", {}, unsynced_s
    )
    page.add("headgate_workers", "gauge", "Workers whose counters are counted here.", {}, len(counters))
    health = health_of(control)
    page.add("headgate_store_up", "gauge", "1: the log answers.", {}, int(health.status != "down"))
    page.add("headgate_ingest_lag_seconds", "gauge", "How far storing is behind.", {}, round(health.lag_s, 3))
    page.add("headgate_ingest_rows_total", "counter", "Rows stored since start.", {}, control.ingest.stored)
    page.add(
        "headgate_ingest_damaged_bytes_total",
        "counter",
        "Bytes of the spool that could not be read.",
        {},
        control.ingest.damaged_bytes,
    )
    age_s = 0.0 if control.publisher.published_at_us is None else (now_us() - control.publisher.published_at_us) / 1e6
    page.add("headgate_snapshot_generation", "gauge", "Generation published.", {}, control.publisher.generation)
    page.add("headgate_snapshot_age_seconds", "gauge", "Since it was published.", {}, round(age_s, 1))
    for name, value in disk_of(control).items():
        page.add("headgate_disk_bytes", "gauge", "Bytes on disk.", {"what": name.removesuffix("_bytes")}, value)
    try:
        _add_account(page, control)
        _add_log(page, control)
    except HeadgateError as error:
        page.lines.append(f"# the log did not answer: {_escaped(error.sentence)}")
    return "\n".join(page.lines) + "\n"


def _add_account(page: "_Page", control: ControlApp) -> None:
    """The law, from what was read of the spools: started = recorded + interrupted + in flight + dropped."""
    found = accounts(control.log, control.ingest)
    for name, kind, words in _ACCOUNT:
        suffix = "_total" if kind == "counter" else ""
        page.add(f"headgate_account_{name}{suffix}", kind, words, {}, found.total(name))
    page.add("headgate_account_missing", "gauge", "Numbers that left no record.", {}, found.missing)
    page.add("headgate_spool_passed_over", "gauge", "Segments set aside.", {}, passed_over(control.home.path))


def _add_log(page: "_Page", control: ControlApp) -> None:
    facts = queries.metric_facts(control.log)
    page.add("headgate_rows", "gauge", "Requests in the log.", {}, facts["requests"])
    page.add("headgate_rows_priced", "gauge", "Requests in the log with a cost.", {}, facts["priced"])
    for reason, times in (facts["reasons"] or {}).items():
        page.add("headgate_rows_unpriced", "gauge", "Requests in the log without a cost.", {"reason": reason}, times)
    for outcome, times in (facts["outcomes"] or {}).items():
        page.add("headgate_rows_by_outcome", "gauge", "Requests in the log by outcome.", {"outcome": outcome}, times)
    if facts["cost_usd"] is not None:
        page.add("headgate_rows_cost_usd", "gauge", "Cost of the requests in the log.", {}, facts["cost_usd"])


class _Page:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self._described: set[str] = set()

    def add(self, name: str, kind: str, words: str, labels: dict[str, str], value: Any) -> None:
        if name not in self._described:
            self._described.add(name)
            if words:
                self.lines.append(f"# HELP {name} {words}")
            self.lines.append(f"# TYPE {name} {kind}")
        text = ",".join(f'{label}="{_escaped(content)}"' for label, content in labels.items())
        self.lines.append(f"{name}{{{text}}} {value}" if text else f"{name} {value}")


def _escaped(text: str) -> str:
    short = text if len(text) <= 200 else text[:199] + "…"
    return short.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

"""The results as Markdown: tables of medians with their extremes, ratios to nginx and to TensorZero, and goals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rounds import Phase, Reading, Results, Spread, rate_of, spread

Figure = Callable[[Reading], float]


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Whether one Headgate's log holds what the driver sent."""

    name: str
    sent: int
    rows: int
    control_cpu_s: float  # of the control process, over the whole run


@dataclass(frozen=True, kw_only=True)
class Names:
    """Which row is which; None: not measured."""

    direct: str
    nginx: str | None
    tensorzero: str | None
    headgate: str
    unlogged: str
    plain: str

    @property
    def ours(self) -> tuple[str, ...]:
        """Headgate, as it is measured."""
        return self.headgate, self.unlogged, self.plain

    @property
    def measured(self) -> list[str]:
        """Every gateway, in the order of the tables."""
        return [name for name in (self.nginx, self.tensorzero, *self.ours) if name is not None]


class Report:
    """Writes the tables of one run."""

    def __init__(self, results: Results, names: Names, stored: Sequence[Stored]) -> None:
        self._results = results
        self._names = names
        self._stored = stored
        self._sizes = [phase for phase in results.phases if phase.name.startswith("requests")]

    def markdown(self, heading: Sequence[str]) -> str:
        """The whole report."""
        parts = [
            "\n".join(heading),
            self._cpu_table(),
            self._rate_table(),
            self._speed_table(),
            self._tree_table(),
            self._footprint_table(),
            self._stored_text(),
            self._goals_table(),
        ]
        return "\n\n".join(part for part in parts if part) + "\n"

    # Figures.

    def _values(self, name: str, phase: str, figure: Figure) -> list[float]:
        return [figure(reading) for reading in self._results.readings[name][phase]]

    def _ratio(self, name: str, base: str | None, phase: str, figure: Figure) -> Spread | None:
        """Round by round, so that a slow minute of the machine is in both."""
        if base is None or base == name:
            return None
        pairs = zip(self._values(name, phase, figure), self._values(base, phase, figure), strict=True)
        return spread([mine / theirs for mine, theirs in pairs])

    def _added(self, name: str, phase: str, figure: Figure) -> Spread:
        pairs = zip(self._values(name, phase, figure), self._values(self._names.direct, phase, figure), strict=True)
        return spread([mine - direct for mine, direct in pairs])

    # Tables.

    def _cpu_table(self) -> str:
        columns = ["gateway"]
        for phase in self._sizes:
            columns += [f"CPU µs/request, {phase.body_kb} KB", "× nginx", "× TensorZero"]
        columns += ["CPU µs/event", "× nginx", "× TensorZero", "errors", "others on the core"]
        rows = []
        for name in self._names.measured:
            row = [name]
            for phase in self._sizes:
                row += self._cpu_cells(name, phase, Reading.per_request_us, 1)
            row += self._cpu_cells(name, self._phase("events"), Reading.per_event_us, 1)
            row += [str(self._results.errors(name)), f"{self._results.foreign(name):.0%}"]
            rows.append(row)
        return (
            "**CPU of the relaying process** (for Headgate the gateway worker, its data plane), median (least–most) "
            f"of {self._results.rounds} rounds\n\n" + _table(columns, rows)
        )

    def _rate_table(self) -> str:
        columns = ["gateway"]
        for phase in self._sizes:
            per_s = f"{rate_of(phase.body_kb):.0f}/s"
            columns += [f"CPU µs/request, {phase.body_kb} KB at {per_s}", "× nginx", "× TensorZero"]
        rows = []
        for name in self._names.measured:
            row = [name]
            for phase in self._sizes:
                row += self._cpu_cells(name, self._phase(f"rate {phase.body_kb}"), Reading.per_request_us, 0)
            rows.append(row)
        return (
            "**The same, with as many requests a second for each**: above, each is driven as fast as it goes, so the "
            "fastest handle many requests at each wake-up and never have to wake driver or upstream\n\n"
            + _table(columns, rows)
        )

    def _cpu_cells(self, name: str, phase: Phase, figure: Figure, digits: int) -> list[str]:
        return [
            _cell(spread(self._values(name, phase.name, figure)), digits),
            _times(self._ratio(name, self._names.nginx, phase.name, figure)),
            _times(self._ratio(name, self._names.tensorzero, phase.name, figure)),
        ]

    def _speed_table(self) -> str:
        columns = ["gateway", *(f"requests/s, {phase.body_kb} KB" for phase in self._sizes)]
        columns += ["added latency p50, ms", "added time to first byte p50, ms"]
        rows = []
        for name in (self._names.direct, *self._names.measured):
            row = [name, *(_cell(spread(self._values(name, phase.name, _per_s)), 0) for phase in self._sizes)]
            if name == self._names.direct:
                latency = spread(self._values(name, "latency", _latency_ms))
                first_byte = spread(self._values(name, "first byte", _first_byte_ms))
                row += [f"{_cell(latency, 2)} in all", f"{_cell(first_byte, 2)} in all"]
            else:
                row.append(_cell(self._added(name, "latency", _latency_ms), 2))
                row.append(_cell(self._added(name, "first byte", _first_byte_ms), 2))
            rows.append(row)
        return "**Speed**, 32 connections; latency at 40 requests/s, first byte at 20 streams/s\n\n" + _table(
            columns, rows
        )

    def _tree_table(self) -> str:
        columns = ["whole tree", *(f"CPU µs/request, {phase.body_kb} KB" for phase in self._sizes), "CPU µs/event"]
        rows = []
        for name in self._names.ours:
            cells = [
                _cell(spread(self._values(name, phase.name, Reading.tree_per_request_us)), 0) for phase in self._sizes
            ]
            cells.append(_cell(spread(self._values(name, "events", Reading.tree_per_event_us)), 1))
            rows.append([name, *cells])
        return (
            "**CPU of Headgate's whole tree** (worker, control process and supervisor), counted until everything "
            "was priced, stored and every full segment sealed; the control process ran beside the load, on the "
            "other core\n\n" + _table(columns, rows)
        )

    def _footprint_table(self) -> str:
        columns = [
            "gateway",
            "relaying process, MiB: idle → after",
            "of these private",
            "whole tree, MiB: idle → after",
        ]
        columns.append("whole tree, idle CPU")
        rows = []
        for name in self._names.measured:
            foot = self._results.footprints[name]
            assert foot.relay_after is not None
            rows.append(
                [
                    name,
                    f"{foot.relay_idle.rss:.0f} → {foot.relay_after.rss:.0f}",
                    f"{foot.relay_idle.private:.0f} → {foot.relay_after.private:.0f}",
                    f"{foot.tree_idle_mib:.0f} → {foot.tree_after_mib:.0f}",
                    f"{foot.idle_share:.1%} of a core",
                ]
            )
        return "**Memory and idle CPU**\n\n" + _table(columns, rows)

    def _stored_text(self) -> str:
        lines = ["**Stored**", ""]
        for one in self._stored:
            verdict = "equal" if one.sent == one.rows else f"DIFFERENT by {one.sent - one.rows}"
            lines.append(
                f"- {one.name}: the driver sent {one.sent} requests, the log holds {one.rows} rows: {verdict}. "
                f"The control process used {one.control_cpu_s:.1f} CPU seconds, "
                f"{one.control_cpu_s / max(one.rows, 1) * 1e6:.0f} µs per row."
            )
        return "\n".join(lines)

    # Goals.

    def _goals_table(self) -> str:
        names, me = self._names, self._names.headgate
        rows = []
        for phase in self._sizes:
            ratio = self._ratio(me, names.nginx, phase.name, Reading.per_request_us)
            rows.append(_goal(f"CPU/request to nginx, {phase.body_kb} KB", ratio, 8, 5))
            at_rate = f"rate {phase.body_kb}"
            ratio = self._ratio(me, names.nginx, at_rate, Reading.per_request_us)
            rows.append(_goal(f"CPU/request to nginx, {phase.body_kb} KB, same rate", ratio, 5, None))
            for step, words in ((phase.name, ""), (at_rate, ", same rate")):
                ratio = self._ratio(names.plain, names.nginx, step, Reading.per_request_us)
                what = f"CPU/request to nginx, {phase.body_kb} KB{words}, no feature in use"
                rows.append(_goal(what, ratio, 4, None))
            ratio = self._ratio(me, names.tensorzero, phase.name, Reading.per_request_us)
            rows.append(_goal(f"CPU/request to TensorZero, {phase.body_kb} KB", ratio, 1, None))
            ratio = self._ratio(me, names.unlogged, phase.name, Reading.per_request_us)
            rows.append(_goal(f"CPU/request with to without logged bodies, {phase.body_kb} KB", ratio, 1.1, None))
        ratio = self._ratio(me, names.nginx, "events", Reading.per_event_us)
        rows.append(_goal("CPU/event to nginx", ratio, 2, 1.5))
        rows.append(_goal("added latency p50, ms", self._added(me, "latency", _latency_ms), 0.6, None))
        rows.append(_goal("added time to first byte p50, ms", self._added(me, "first byte", _first_byte_ms), 1, None))
        foot = self._results.footprints[me]
        assert foot.relay_after is not None
        rows.append(_goal("worker idle, MiB", _one(foot.relay_idle.rss), 40, None))
        rows.append(_goal("worker after load, MiB", _one(foot.relay_after.rss), 60, None))
        rows.append(_goal("whole tree idle, MiB", _one(foot.tree_idle_mib), 300, None))
        rows.append(_goal("whole tree idle, share of a core in %", _one(foot.idle_share * 100), 1, None))
        per_s = spread(self._values(me, self._sizes[0].name, _per_s))
        rows.append(["requests/s at 32 connections", f"{per_s.median:.0f}", "≥ 10000", _held(per_s.median >= 10_000)])
        return "**Goals** (Headgate, everything on; median)\n\n" + _table(
            ["what", "measured", "goal", "held"], [row for row in rows if row]
        )

    def _phase(self, name: str) -> Phase:
        return next(phase for phase in self._results.phases if phase.name == name)


def _per_s(reading: Reading) -> float:
    return reading.driven.per_s


def _latency_ms(reading: Reading) -> float:
    return reading.driven.latency_ms


def _first_byte_ms(reading: Reading) -> float:
    return reading.driven.first_byte_ms


def _one(value: float) -> Spread:
    return Spread(median=value, least=value, most=value)


def _goal(what: str, measured: Spread | None, first: float, then: float | None) -> list[str]:
    """A row; empty when there is nothing to compare with."""
    if measured is None:
        return []
    goal = f"≤ {first:g}" if then is None else f"≤ {first:g}, then ≤ {then:g}"
    held = _held(measured.median <= first)
    if then is not None and measured.median <= then:
        held = "both"
    return [what, f"{measured.median:.2f}", goal, held]


def _held(is_held: bool) -> str:
    return "yes" if is_held else "**no**"


def _cell(values: Spread, digits: int) -> str:
    return f"{values.median:.{digits}f} ({values.least:.{digits}f}–{values.most:.{digits}f})"


def _times(ratio: Spread | None) -> str:
    return "–" if ratio is None else f"{ratio.median:.2f}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

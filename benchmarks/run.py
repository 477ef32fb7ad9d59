"""Measures Headgate beside nginx and TensorZero on this machine and prints the tables of docs/benchmarks.md.

    python benchmarks/run.py [--quick] [--rounds N] [--write]

Run by the interpreter Headgate is installed for. Linux, two cores and gcc; nginx and TensorZero where they can be had.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import gateways
import machine
from driver import HERE, Mock, compile_tools
from gateways import Gateway, NotMeasured
from report import Names, Report, Stored
from rounds import Rounds, phases

_DOCUMENT = HERE.parent / "docs" / "benchmarks.md"
_BEGIN, _END = "<!-- measured: begin -->", "<!-- measured: end -->"
_QUIET_LOAD = 0.5
_HEADGATE = "Headgate, everything on"
_UNLOGGED = 'Headgate, bodies not logged (capture = "none")'
_PLAIN = "Headgate, no feature in use"


@dataclass(kw_only=True)
class Options:
    """The command line."""

    rounds: int
    is_quick: bool
    sizes_kb: list[int]
    tensorzero_python: Path | None
    cache: Path
    writes: bool


def main() -> int:
    """Measure and print; 1 when a request failed or a row is missing."""
    options = _options()
    machine.check()
    load = os.getloadavg()[0]
    if load > _QUIET_LOAD:
        _say(f"The load average is {load:.1f}: others are at work here, and the figures will be worse for it.")
    compile_tools(options.cache)
    with ExitStack() as stack:
        text, is_sound = _measure(options, stack)
    print(text)
    if options.writes:
        _write(text)
    return 0 if is_sound else 1


def _options() -> Options:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, help="how often to go round (default 5, with --quick 2)")
    parser.add_argument("--quick", action="store_true", help="shorter phases: to see that it works")
    parser.add_argument("--body-kb", type=int, nargs="+", default=[1, 40, 400], help="sizes of the request body")
    parser.add_argument("--tensorzero-python", type=Path, help="an interpreter that has tensorzero installed")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "headgate-bench")
    parser.add_argument("--write", action="store_true", help=f"record the tables in {_DOCUMENT.name}")
    given = parser.parse_args()
    if given.quick and given.write:
        parser.error("--write records a full run; leave out --quick")
    return Options(
        rounds=given.rounds or (2 if given.quick else 5),
        is_quick=given.quick,
        sizes_kb=given.body_kb,
        tensorzero_python=given.tensorzero_python,
        cache=given.cache.absolute(),
        writes=given.write,
    )


def _measure(options: Options, stack: ExitStack) -> tuple[str, bool]:
    cache = options.cache
    mock = Mock(cache)
    stack.callback(mock.stop)
    absent: list[str] = []

    def started(start: Callable[[], Gateway]) -> Gateway | None:
        try:
            gateway = start()
        except NotMeasured as error:
            absent.append(str(error))
            _say(f"Not measured: {error}")
            return None
        stack.callback(gateway.stop)
        return gateway

    direct = gateways.direct(mock.port)
    nginx = started(lambda: gateways.nginx(cache, mock.port))
    tensorzero = started(lambda: gateways.tensorzero(cache, mock.port, options.tensorzero_python))
    full = started(lambda: gateways.headgate(cache, mock.port, capture="full", name=_HEADGATE))
    unlogged = started(lambda: gateways.headgate(cache, mock.port, capture="none", name=_UNLOGGED))
    plain = started(lambda: gateways.headgate(cache, mock.port, capture="none", name=_PLAIN, is_plain=True))
    if full is None or unlogged is None or plain is None:
        raise SystemExit("Headgate did not start; what it said is above.")
    present = [one for one in (direct, nginx, tensorzero, full, unlogged, plain) if one is not None]
    steps = phases(options.sizes_kb, is_quick=options.is_quick)
    ours = (full, unlogged, plain)
    control_s = {one.name: _control_cpu_s(one) for one in ours}
    results = Rounds(cache, mock, present, _say).run(options.rounds, steps, idle_s=2.0 if options.is_quick else 10.0)
    stored = [_stored(one, control_s[one.name]) for one in ours]
    names = Names(
        direct=direct.name,
        nginx=None if nginx is None else nginx.name,
        tensorzero=None if tensorzero is None else tensorzero.name,
        headgate=full.name,
        unlogged=unlogged.name,
        plain=plain.name,
    )
    text = Report(results, names, stored).markdown(_heading(options, mock, absent))
    is_sound = not any(results.errors(one.name) for one in present) and all(one.sent == one.rows for one in stored)
    return text, is_sound


def _stored(gateway: Gateway, control_before_s: float) -> Stored:
    answer = gateways.headgate_cli(gateway, "sql", "SELECT count(*) FROM requests", "--format", "json")
    return Stored(
        name=gateway.name,
        sent=gateway.sent,
        rows=int(json.loads(answer)["rows"][0][0]),
        control_cpu_s=_control_cpu_s(gateway) - control_before_s,
    )


def _control_cpu_s(gateway: Gateway) -> float:
    return machine.cpu_of(pid for pid in gateway.pids if "headgate.control.main" in machine.command_line(pid))


def _heading(options: Options, mock: Mock, absent: list[str]) -> list[str]:
    lines = [
        f"Measured {datetime.now(UTC):%Y-%m-%d %H:%M} UTC on {machine.describe()}.",
        f"Load average at the end {os.getloadavg()[0]:.1f} (this run's own work included); priority over neighbours: "
        f"{'yes' if mock.has_priority else 'no (needs root)'}.",
    ]
    if options.is_quick:
        lines.append("A quick run: short phases, few rounds; good for seeing that it works, not for figures.")
    lines += [f"Not measured: {reason}." for reason in absent]
    return lines


def _write(text: str) -> None:
    document = _DOCUMENT.read_text(encoding="utf-8")
    before, begin, rest = document.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise SystemExit(f"{_DOCUMENT} has no place marked {_BEGIN} ... {_END}.")
    _DOCUMENT.write_text(f"{before}{begin}\n{text}{end}{after}", encoding="utf-8")
    _say(f"Recorded in {_DOCUMENT}.")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

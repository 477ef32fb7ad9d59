"""Prints what shows that nobody can tell the relay from the upstream, point by point, each with its figure.

    python scripts/conformance.py            the short tier, some two minutes
    python scripts/conformance.py --all      the slow tests too: 10 times 100 MB, 1,000 slow readers …
    python scripts/conformance.py 4 5        these points alone

Every point is a set of tests; a test with a figure hands it over as the property `figure` of its JUnit report.
Exit code 1 when a test failed. What runs by a recipe of its own is named, with what it needs and its last figure.
"""

import argparse
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, kw_only=True)
class Point:
    """One thing that must hold. ``tests``: files or node ids; empty: ``recipe`` says how it is shown.

    ``is_slow``: all of its tests run with `--all` only. ``last``: a file of the documents and a text in it, from which
    on lines are shown, as many as ``last_lines``.
    """

    number: int
    name: str
    tests: tuple[str, ...] = ()
    recipe: str = ""
    is_slow: bool = False
    last: tuple[str, str] | None = None
    last_lines: int = 0


POINTS = (
    Point(
        number=1,
        name="the openai package's own tests",
        recipe="python scripts/openai_suite.py (needs a checkout of openai-python at e43b4224, an interpreter with it "
        "and its test requirements, and Steady from npm: --help)",
        last=("docs/conformance.md", "| directly |"),
        last_lines=2,
    ),
    Point(number=2, name="bytes", tests=("tests/corpus", "tests/wire/test_splice.py")),
    Point(
        number=3,
        name="streams",
        tests=("tests/gateway/test_streaming.py", "tests/faults/test_hostile_upstream.py", "tests/wire/test_sse.py")
        + ("tests/wire/test_fold.py",),
    ),
    Point(
        number=4,
        name="endings",
        tests=("tests/faults/test_leaving.py", "tests/faults/test_reuse.py", "tests/gateway/test_relay.py"),
    ),
    Point(
        number=5,
        name="big and many",
        tests=("tests/gateway/test_large.py", "tests/gateway/test_uploads.py", "tests/faults/test_many.py")
        + ("tests/wire/test_members.py",),
    ),
    Point(
        number=6,
        name="edge",
        tests=("tests/faults/test_hostile_edge.py", "tests/faults/test_ways.py", "tests/faults/test_tls_upstream.py")
        + ("tests/faults/test_unusual.py", "tests/wire/test_decode.py"),
    ),
    Point(
        number=7,
        name="stateful paths",
        tests=("tests/journeys/test_accounts.py", "tests/gateway/test_account_objects.py"),
    ),
    Point(
        number=8,
        name="WebSockets",
        tests=("tests/gateway/test_websockets.py", "tests/gateway/test_websocket_keys.py")
        + ("tests/gateway/test_websocket_log.py", "tests/wire/test_ws_frames.py", "tests/journeys/test_aimock.py"),
    ),
    Point(
        number=9,
        name="speed",
        recipe="make bench; the table: docs/benchmarks.md",
        last=("docs/benchmarks.md", "| CPU/request to nginx, 1 KB |"),
        last_lines=18,
    ),
    Point(number=10, name="real upstreams", tests=("tests/real",), is_slow=True),
)


def main() -> int:
    """Run the points asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("points", type=int, nargs="*", help="their numbers; all of them when none is given")
    parser.add_argument("--all", action="store_true", help="the slow tests too")
    options = parser.parse_args()
    failures = 0
    for point in POINTS:
        if not options.points or point.number in options.points:
            failures += _show(point, with_slow=options.all)
    return 1 if failures else 0


def _show(point: Point, *, with_slow: bool) -> int:
    tests = [test for test in point.tests if (ROOT / test.partition("::")[0]).exists()]
    if not point.tests:
        print(f"{point.number}. {point.name}: by a recipe of its own: {point.recipe}", flush=True)
        _show_last(point)
        return 0
    if not tests or (point.is_slow and not with_slow):
        why = "with --all only" if tests else "no tests yet"
        print(f"{point.number}. {point.name}: {why}", flush=True)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}"]
        done = subprocess.run(
            [*command, *([] if with_slow else ["-m", "not slow"]), *tests],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        if not report.exists():
            print(f"{point.number}. {point.name}: the tests could not be run\n{done.stdout}{done.stderr}", flush=True)
            return 1
        suite = next(ElementTree.parse(report).iter("testsuite"))
    count, failed = int(suite.get("tests", 0)), int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    skipped = int(suite.get("skipped", 0))
    print(
        f"{point.number}. {point.name}: {count - failed - skipped} passed, {skipped} skipped, {failed} failed",
        flush=True,
    )
    for case in suite.iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            print(f"     failed: {case.get('classname')}::{case.get('name')}", flush=True)
        for found in case.iter("property"):
            if found.get("name") == "figure":
                print(f"     {found.get('value')}", flush=True)
        for found in case.iter("skipped"):
            print(f"     skipped: {case.get('name')}: {found.get('message')}", flush=True)
    return failed or done.returncode


def _show_last(point: Point) -> None:
    """What the documents have of the last time."""
    if point.last is None:
        return
    file, start = point.last
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    at = next((number for number, line in enumerate(lines) if line.startswith(start)), None)
    for line in [] if at is None else lines[at : at + point.last_lines]:
        print(f"     {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""Prints what shows that nobody can tell the relay from the upstream, point by point, each with its figure.

    python scripts/conformance.py            the short tier, some two minutes
    python scripts/conformance.py --all      the slow tests too: 10 times 100 MB, 1,000 slow readers …
    python scripts/conformance.py 4 5        these points alone

Every point is a set of tests; a test with a figure hands it over as the property `figure` of its JUnit report.
Exit code 1 when a test failed. What runs by a recipe of its own is named.
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
    """One thing that must hold. ``tests``: files or node ids; empty: ``recipe`` says how it is shown."""

    number: int
    name: str
    tests: tuple[str, ...] = ()
    recipe: str = ""


POINTS = (
    Point(number=1, name="the openai package's own tests", recipe="python scripts/openai_suite.py --help"),
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
        + ("tests/wire/test_decode.py",),
    ),
    Point(number=7, name="stateful paths", tests=("tests/journeys/test_accounts.py",)),
    Point(
        number=8,
        name="WebSockets",
        tests=("tests/gateway/test_websockets.py", "tests/gateway/test_websocket_keys.py")
        + ("tests/gateway/test_websocket_log.py", "tests/wire/test_ws_frames.py", "tests/journeys/test_aimock.py"),
    ),
    Point(number=9, name="speed", recipe="make bench"),
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
    if not point.tests:
        print(f"{point.number}. {point.name}: by a recipe of its own: {point.recipe}", flush=True)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
        done = subprocess.run(
            [*command, *([] if with_slow else ["-m", "not slow"]), *point.tests],
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
    return failed or done.returncode


if __name__ == "__main__":
    sys.exit(main())

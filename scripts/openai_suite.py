"""Runs the API tests of the openai-python project directly and through Headgate, and prints what differs.

    python scripts/openai_suite.py --checkout DIR --python DIR/venv/bin/python --steady PATH/steady

Needs, none of it installed here:

- a checkout of openai-python at a commit that ships `api_reference/openapi.transformed.yml` (e43b4224 is the one in
  docs/conformance.md);
- an interpreter that has that very version of the package with its test requirements: pytest, pytest-asyncio,
  pytest-xdist, inline-snapshot, rich, trio, respx, aiohttp, httpx-aiohttp, time-machine, dirty-equals, nest-asyncio;
- the mock server Steady (`npm install @stdy/cli@0.22`).

It takes about two minutes.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from xml.etree import ElementTree

_VALIDATORS = [
    f"--validator-{kind}-{shape}-format=brackets" for kind in ("query", "form") for shape in ("array", "object")
]
_CONFIG = """[server]
port = {port}
workers = 2

[upstreams.steady]
kind = "openai"
base_url = "http://127.0.0.1:{steady}"
auth = "caller"
allow_paths = ["*"]

[[routes]]
model = "*"
targets = [{{upstream = "steady"}}]
"""
_PATIENCE_S = 60.0


def wait_for(url: str) -> None:
    """Until ``url`` answers 200."""
    deadline_s = time.monotonic() + _PATIENCE_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            if time.monotonic() > deadline_s:
                raise SystemExit(f"{url} does not answer") from None
            time.sleep(0.2)


def run_suite(options: argparse.Namespace, base_url: str, report: Path) -> dict[str, str]:
    """How each test ended."""
    command = [options.python, "-m", "pytest", "tests/api_resources", "-n", "2", "-q", "-p", "no:cacheprovider"]
    environ = {**os.environ, "TEST_API_BASE_URL": base_url}
    subprocess.run([*command, f"--junitxml={report}"], cwd=options.checkout, env=environ, stdout=subprocess.DEVNULL)
    endings = {}
    for case in ElementTree.parse(report).iter("testcase"):
        found = [name for name in ("skipped", "failure", "error") if case.find(name) is not None]
        endings[f"{case.get('classname')}::{case.get('name')}"] = found[0] if found else "passed"
    return endings


def summary(endings: dict[str, str]) -> str:
    """Counts in words."""
    counts = {name: list(endings.values()).count(name) for name in sorted(set(endings.values()))}
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "no test ran"


def main() -> int:
    """Run both; 1 when any test ended otherwise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkout", type=Path, required=True)
    parser.add_argument("--python", required=True)
    parser.add_argument("--steady", required=True)
    parser.add_argument("--port", type=int, default=4411)
    options = parser.parse_args()
    steady_port = options.port + 1
    spec = "api_reference/openapi.transformed.yml"
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory) / "headgate.toml"
        config.write_text(_CONFIG.format(port=options.port, steady=steady_port))
        serve = [sys.executable, "-m", "headgate", "serve", "--config", str(config), "--home", f"{directory}/home"]
        mock = [options.steady, "--host", "127.0.0.1", "-p", str(steady_port), *_VALIDATORS, spec]
        started = [
            subprocess.Popen(mock, cwd=options.checkout, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL),
            subprocess.Popen(serve, stdout=subprocess.DEVNULL),
        ]
        try:
            wait_for(f"http://127.0.0.1:{steady_port}/_x-steady/health")
            wait_for(f"http://127.0.0.1:{options.port}/readyz")
            direct = run_suite(options, f"http://127.0.0.1:{steady_port}", Path(directory) / "direct.xml")
            through = run_suite(options, f"http://127.0.0.1:{options.port}/v1", Path(directory) / "through.xml")
        finally:
            for process in started:
                process.terminate()
                process.wait()
    different = sorted(name for name in direct.keys() | through.keys() if direct.get(name) != through.get(name))
    sys.stdout.write(f"directly: {summary(direct)}\nthrough Headgate: {summary(through)}\n")
    sys.stdout.write(f"tests that ended otherwise: {len(different)}\n")
    for name in different[:50]:
        sys.stdout.write(f"  {name}: {direct.get(name)} directly, {through.get(name)} through Headgate\n")
    return 1 if different or not direct else 0


if __name__ == "__main__":
    sys.exit(main())

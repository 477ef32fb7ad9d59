"""Model processes as the control process needs them: one run of a sample before a version is taken, and a runner that
is ready before an alias points to it."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from headgate.core.errors import Unavailable
from headgate.core.home import Home
from headgate.core.ids import monotonic_s
from headgate.core.runner_states import Wishes, read_states
from headgate.core.settings import Models
from headgate.runtimes.onnx_file import refuse
from headgate.runtimes.replay import FAILED, NO_RUNTIME

TOLERANCE = 1e-5
START_S = 30.0
_GRACE_S = 30.0
_POLL_S = 0.02
MISSING = 'This server runs no models: onnxruntime is not installed. Install it: pip install "headgate[models]"'


def replay(bundle: Path, limits: Models, *, check: bool = False, tolerance: float = TOLERANCE) -> dict[str, Any]:
    """Blocking: run a bundle's sample in a process of its own. Raises ModelRefused, Unavailable without onnxruntime.

    ``check``: compare with the stored answer instead of storing one.
    """
    arguments = [
        *(sys.executable, "-m", "headgate.runtimes.replay", "--bundle", str(bundle)),
        *("--memory-mb", str(limits.memory_mb), "--timeout-s", str(limits.timeout_s + _GRACE_S)),
        *("--tolerance", repr(tolerance)),
        *(("--check",) if check else ()),
    ]
    try:
        done = subprocess.run(
            arguments, stdin=subprocess.DEVNULL, capture_output=True, timeout=limits.timeout_s + 2 * _GRACE_S
        )
    except subprocess.TimeoutExpired:
        refuse(f"The model did not answer its sample within {limits.timeout_s + _GRACE_S:g} s.")
    words = done.stderr.decode("utf-8", "replace").strip().splitlines()
    if done.returncode == NO_RUNTIME:
        raise Unavailable(MISSING, code="no_model_runtime")
    if done.returncode != 0:
        why = words[-1][:500] if done.returncode == FAILED and words else f"its process ended with {done.returncode}"
        refuse(
            f"The model cannot be run on its sample: {why}.",
            "Give a sample it takes (--sample), or raise models.memory_mb and models.timeout_s.",
        )
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def try_again(home: Home, sha256: str) -> None:
    """Have a resting runner started at once; nothing where none rests or no process tree runs."""
    state = read_states(home).get(sha256)
    if state is None or state.state not in ("backoff", "quarantined"):
        return
    wishes = Wishes(home)
    try:
        wishes.send(sha256, retry=True)
    finally:
        wishes.close()


async def ensure_running(home: Home, sha256: str, name: str) -> None:
    """Wait until a version's runner serves; returns at once where no process tree runs. Raises Unavailable."""
    wishes = Wishes(home)
    try:
        if not wishes.send(sha256, retry=True):
            return
        deadline_s = monotonic_s() + START_S
        while True:
            state = read_states(home).get(sha256)
            if state is not None and state.state == "ready":
                return
            if state is not None and state.state == "quarantined" and monotonic_s() > deadline_s - START_S + 1:
                raise Unavailable(f"{name} cannot be served: {state.reason}.", code="model_down")
            if monotonic_s() > deadline_s:
                raise Unavailable(f"{name} did not start within {START_S:g} s.", code="model_down")
            await asyncio.sleep(_POLL_S)
    finally:
        wishes.close()

"""Runs a model on many calls in a process of its own: `python -m headgate.runtimes.batch`, frames in, frames out.

Used where a dataset is scored: the processes that serve are not disturbed, and a model that misbehaves harms nobody.
"""

import argparse
import signal
import sys
from pathlib import Path

from headgate.runtimes.bundle import BundleDamaged, verified
from headgate.runtimes.limits import confine
from headgate.wire.frames import OUTPUTS, FrameError, FrameReader, decode, encode

FAILED, NO_RUNTIME = 3, 4
MAX_FILE_BYTES = 1 << 30
_READ_BYTES = 1 << 20
_LOAD_S = 60.0


def main(arguments: list[str]) -> int:
    """Answer every call of a file; 3 with a reason on standard error when one cannot be, 4 without onnxruntime."""
    parser = argparse.ArgumentParser(prog="headgate.runtimes.batch")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--sha256", required=True)
    parser.add_argument("--calls", type=Path, required=True, help="frames to answer")
    parser.add_argument("--answers", type=Path, required=True, help="where their answers go, in the same order")
    parser.add_argument("--memory-mb", type=int, required=True)
    parser.add_argument("--timeout-s", type=float, required=True, help="for one call")
    given = parser.parse_args(arguments)
    try:
        manifest = verified(given.bundle, given.sha256)
    except BundleDamaged as error:
        return _say(str(error), FAILED)
    confine(memory_mb=given.memory_mb, file_bytes=MAX_FILE_BYTES)
    try:
        from headgate.runtimes.session import Session
    except ImportError as error:
        return _say(f"onnxruntime cannot be imported ({error})", NO_RUNTIME)
    signal.setitimer(signal.ITIMER_REAL, max(_LOAD_S, given.timeout_s))
    reader, number = FrameReader(), 0
    try:
        session = Session(given.bundle, manifest.signature)
        with given.calls.open("rb") as calls, given.answers.open("wb") as answers:
            while piece := calls.read(_READ_BYTES):
                for raw in reader.feed(piece):
                    signal.setitimer(signal.ITIMER_REAL, given.timeout_s)
                    answers.write(encode(number, OUTPUTS, session.run(decode(raw).tensors)))
                    number += 1
    except FrameError as error:
        return _say(f"call {number} is no frame ({error})", FAILED)
    except Exception as error:  # border: plug-in call. Whatever onnxruntime raises, this version is not scored.
        return _say(f"call {number}: {type(error).__name__}: {error}", FAILED)
    return 0


def _say(text: str, code: int) -> int:
    print(text[:2000].replace("\n", " "), file=sys.stderr)  # noqa: T201
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

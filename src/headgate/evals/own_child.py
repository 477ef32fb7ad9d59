"""The process of an own scorer: its code from stdin, then one case a line; standard library only, confined first.

It is started by its path, never imported: what it runs is a user's, and must find nothing of ours.
"""

import ctypes
import json
import math
import os
import resource
import signal
from collections.abc import Callable
from typing import Any

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_MAX_REASON_CHARS = 1000
_MOST_OPEN_FILES = 64


def main() -> None:
    """Serve cases until stdin ends."""
    cases, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):  # what the code prints or reads goes nowhere
        os.dup2(nothing, number)
    start = json.loads(cases.readline())
    has_network = _confine(start)
    try:
        scores = _loaded(start["code"], start["file"])
    except BaseException as error:  # border: foreign code may raise anything, SystemExit included
        _send(answers, {"fault": _said(error), "has_network": has_network})
        return
    _send(answers, {"has_network": has_network})
    for line in cases:
        _allow_cpu(start["cpu_s"])
        case = json.loads(line)
        try:
            answer = _answer(scores(case["row"], case["output"]))
        except BaseException as error:  # border: one case's failure is its result
            answer = {"status": "error", "value": None, "reason": _said(error)}
        _send(answers, answer)


def _confine(start: dict[str, Any]) -> bool:
    """Set the limits; returns whether the network is still there."""
    library = ctypes.CDLL(None, use_errno=True)
    library.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    library.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    has_network = all(library.unshare(flags) != 0 for flags in (_CLONE_NEWNET, _CLONE_NEWUSER | _CLONE_NEWNET))
    os.chdir("/")
    os.nice(5)
    size = start["memory_mb"] << 20
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_MOST_OPEN_FILES, _MOST_OPEN_FILES))
    _allow_cpu(start["cpu_s"])
    return has_network


def _allow_cpu(seconds: float) -> None:
    """So much more processor time from now on; the kernel ends the process beyond it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = math.ceil(used.ru_utime + used.ru_stime + seconds)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _loaded(code: str, file: str) -> Callable[[Any, Any], Any]:
    names: dict[str, Any] = {"__name__": "own_scorer", "__file__": file}
    exec(compile(code, file, "exec"), names)
    scores: Callable[[Any, Any], Any] = names["score"]
    return scores


def _answer(value: Any) -> dict[str, Any]:
    """What a scorer returned, checked: bool, number, None, or a mapping of value and reason."""
    reason = ""
    if isinstance(value, dict):
        if unknown := sorted(map(str, value.keys() - {"value", "reason"})):
            raise TypeError(f"score returned unknown keys: {', '.join(unknown)[:100]}; known: value, reason")
        value, reason = value.get("value"), str(value.get("reason") or "")
    if value is None:
        return {"status": "unscored", "value": None, "reason": reason or "the scorer gave no value"}
    if not isinstance(value, bool | int | float):
        raise TypeError(f"score returned {type(value).__name__}; it returns a number, True, False, None or a mapping")
    if not math.isfinite(value):
        raise ValueError(f"score returned {value}, which is no score")
    return {"status": "ok", "value": float(value), "reason": reason or f"the scorer gave {float(value):g}"}


def _said(error: BaseException) -> str:
    """The error with its line in the user's file."""
    trace, line = error.__traceback__, None
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__") == "own_scorer":
            line = trace.tb_lineno
        trace = trace.tb_next
    where = "" if line is None else f" in line {line}"
    try:
        words = str(error)
    except Exception:  # border: foreign code wrote its __str__
        words = "(its text cannot be read)"
    return f"{type(error).__name__}{where}: {words}"[:_MAX_REASON_CHARS]


def _send(answers: Any, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer).encode() + b"\n")
    answers.flush()


if __name__ == "__main__":
    main()

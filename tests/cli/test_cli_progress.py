"""The progress of a run as a terminal shows it, as a pipe gets it, as programs read it."""

import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from fcntl import ioctl

PROGRAM = """
from decimal import Decimal
from headgate.cli.eval_progress import Watch
from headgate.evals.runner.work import Progress

def told(done, phase="answers", **more):
    facts = {"total": 15, "failed": 0, "in_flight": 2, "slots": 4, "spent_usd": Decimal("0.0041"), "unpriced": 0}
    watch(Progress(phase=phase, done=done, **{**facts, **more}))

with Watch("greet@2\\x1b[31m", as_json=AS_JSON) as watch:
    told(0, cached=5)
    told(7, cached=5, note="again in 2.0 s: status 429 \\x1b[2J")
    told(14, cached=5, failed=1, unpriced=3, spent_usd=Decimal("0.0123"))
    told(0, phase="judges", total=0, cached=20, spent_usd=Decimal(0))
"""
ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


def on_a_terminal(columns: int, program: str) -> bytes:
    """What a program writes to a terminal of this width, until it ends."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environ = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=theirs, stderr=theirs, stdin=theirs, env={**environ, "TERM": "xterm"}
    ) as process:
        os.close(theirs)
        pieces = []
        try:
            while piece := os.read(ours, 65536):
                pieces.append(piece)
        except OSError:  # the other end is closed: the program is over
            pass
        assert process.wait(timeout=30) == 0
    os.close(ours)
    return b"".join(pieces)


def last_lines(written: bytes) -> list[str]:
    """What stands there in the end: the bar's last two lines."""
    text = ESCAPES.sub(b"", written).decode().replace("\r", "\n")
    return [line.rstrip() for line in text.split("\n") if line.strip()][-2:]


def test_a_terminal_sees_progress_spend_cached_share_and_time() -> None:
    written = on_a_terminal(120, PROGRAM.replace("AS_JSON", "False"))
    answers, judges = last_lines(written)
    assert re.fullmatch(
        r"greet@2\S*  answers\s+\S+\s+20/20\s+[\d:]+\s+\$0\.0123, 1 failed, 3 unpriced, 25% cached", answers
    )
    assert re.search(r"judges\s+\S+\s+20/20\s+[\d:]+\s+\$0, 100% cached", judges)
    assert b"\x1b[2J" not in written and b"\x1b[31mgreet" not in written


def test_a_narrow_terminal_keeps_the_figures_on_one_line() -> None:
    answers, judges = last_lines(on_a_terminal(80, PROGRAM.replace("AS_JSON", "False")))
    assert re.match(r"greet@2…  answers .*20/20 .*\$0\.0123, 1 failed, 3 unpriced, 25% cached$", answers)
    assert re.match(r"greet@2…  judges .*20/20 .*\$0, 100% cached$", judges)
    assert max(len(answers), len(judges)) <= 80


def test_a_pipe_gets_no_bar_and_programs_get_lines_of_json() -> None:
    for as_json in (False, True):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM.replace("AS_JSON", str(as_json))],
            capture_output=True,
            timeout=30,
            check=True,
        )
        assert done.stdout == b""
        told = [json.loads(line) for line in done.stderr.splitlines()]
        assert [(one["phase"], one["done"], one["cached"]) for one in told] == (
            [("answers", 0, 5), ("answers", 7, 5), ("answers", 14, 5), ("judges", 0, 20)] if as_json else []
        )

"""A test process that is killed leaves nothing of what it started."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from support.server import eventually, is_running

_HANGS = """
import subprocess, sys, threading, time

def test_that_hangs():
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    nested = f"import subprocess, time; print(subprocess.Popen({command!r}).pid, flush=True); time.sleep(600)"

    def start():  # by a thread that ends at once, in a session of its own: a server of its own children
        child = subprocess.Popen([sys.executable, "-c", nested], stdout=subprocess.PIPE, start_new_session=True)
        pids.extend((child.pid, int(child.stdout.readline())))

    pids = []
    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    time.sleep(0.5)  # longer than a guard that takes the end of a thread for the end of a process would let it live
    print("pids", *pids, flush=True)
    time.sleep(600)
"""


def test_a_killed_test_process_takes_with_it_all_that_it_started(tmp_path: Path) -> None:
    file = tmp_path / "test_hangs.py"
    file.write_text(_HANGS)
    command = [sys.executable, "-m", "pytest", "-s", "-p", "no:cacheprovider", "-p", "support.leftovers", str(file)]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=tmp_path, env=environ) as run:
        assert run.stdout is not None
        line = next(line for line in run.stdout if b"pids" in line)
        pids = [int(word) for word in line.partition(b"pids")[2].split()]
        assert len(pids) == 2 and all(map(is_running, pids))
        run.send_signal(signal.SIGKILL)
        eventually(lambda: not any(map(is_running, pids)), within_s=20, what="what it started is gone")

"""A process of the tree hears of its parent's end, also where the kernel has no descriptors of processes."""

import subprocess
import sys

import pytest

CHILD = """
import asyncio, os
from headgate.core.parent import parent_ended

async def main():
    watching = asyncio.create_task(parent_ended())
    await asyncio.sleep(0)
    print("watching", flush=True)
    await watching
    print("ended", flush=True)

def refused(pid):
    raise OSError("no such call")

if {is_refused}:
    os.pidfd_open = refused
asyncio.run(main())
"""
PARENT = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", {child!r}])
time.sleep(60)
"""


@pytest.mark.parametrize("is_refused", [False, True])
def test_the_end_of_a_killed_parent_is_heard_of(is_refused: bool) -> None:
    script = PARENT.format(child=CHILD.format(is_refused=is_refused))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        try:
            assert parent.stdout is not None
            assert parent.stdout.readline() == "watching\n"
            parent.kill()
            assert parent.stdout.readline() == "ended\n"
            assert parent.stdout.read() == ""
        finally:
            parent.kill()

"""Tells a process of the tree that its parent has ended, however it did: without it, nobody would end this one."""

import asyncio
import os

_POLL_S = 2.0


async def parent_ended() -> None:
    """Return once the process that started this one is gone."""
    parent = os.getppid()
    try:
        descriptor = os.pidfd_open(parent)
    except OSError:  # gone already, or a kernel or a container that knows no such descriptors
        while os.getppid() == parent:
            await asyncio.sleep(_POLL_S)
        return
    has_ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, has_ended.set)
    try:
        if os.getppid() == parent:  # else its number may have been another process's when it was opened
            await has_ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)

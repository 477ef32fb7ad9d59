"""Work of the control process that has a thread of its own: handing each step to one costs more than most steps do."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


async def run_in_own_thread(name: str, work: Callable[[], None], stop: Callable[[], None]) -> None:
    """Run ``work`` to its end in a thread called ``name``; ``stop`` has it end where the caller is cancelled."""
    thread = ThreadPoolExecutor(1, thread_name_prefix=name)
    try:
        await asyncio.get_running_loop().run_in_executor(thread, work)
    finally:
        stop()
        thread.shutdown(wait=False)

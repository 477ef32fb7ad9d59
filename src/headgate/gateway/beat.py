"""The one timer of a worker: four times a second while something waits for it, seldom while nothing does."""

import asyncio
import logging
from collections.abc import Callable

SWEEP_S = 0.25
REST_S = 2.0
_logger = logging.getLogger("headgate.gateway")


class Beat:
    """Calls ``sweep`` again and again; what it returns says whether something waits for the next one."""

    def __init__(self, sweep: Callable[[], bool]) -> None:
        self._sweep = sweep
        self._timer: asyncio.TimerHandle | None = None
        self.rests = False  # the next sweep is up to REST_S away

    def start(self) -> None:
        """Begin, on the running event loop."""
        self._set(SWEEP_S)

    def stir(self) -> None:
        """Something waits from now on: no rest before the next sweep."""
        self.rests = False
        self._set(SWEEP_S)

    def stop(self) -> None:
        """No more sweeps."""
        if self._timer is not None:
            self._timer.cancel()

    def _set(self, pause_s: float) -> None:
        self.stop()
        self._timer = asyncio.get_running_loop().call_later(pause_s, self._run)

    def _run(self) -> None:
        try:
            self.rests = not self._sweep()
        except Exception:  # border: job. The sweeps must go on: they hold every deadline.
            self.rests = False
            _logger.exception("a sweep failed")
        self._set(REST_S if self.rests else SWEEP_S)

"""Work that takes longer than one answer may: begun by one request, asked for by others; one at a time."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from headgate.core.errors import HeadgateError, NotFound
from headgate.core.ids import now_us, uuid7

_KEPT = 8
_logger = logging.getLogger("headgate.control")


@dataclass(slots=True, kw_only=True)
class LongTask:
    """One piece of work; ``answer`` once it is done, ``error`` (message, code, hint) once it has failed."""

    id: str
    kind: str
    state: Literal["running", "done", "failed"] = "running"
    answer: dict[str, Any] | None = None
    error: dict[str, str] | None = None

    def json(self) -> dict[str, Any]:
        """As the API tells it."""
        return {"task": self.id, "kind": self.kind, "state": self.state, "answer": self.answer, "error": self.error}


class LongTasks:
    """Belongs to the event loop; the work itself runs in a thread."""

    def __init__(self) -> None:
        self._tasks: dict[str, LongTask] = {}
        self._running: dict[str, asyncio.Task[None]] = {}

    def begin(self, kind: str, work: Callable[[], dict[str, Any]]) -> LongTask:
        """Start it; raises TaskRunning while another runs."""
        for running in self._tasks.values():
            if running.state == "running":
                raise TaskRunning(f"A {running.kind} is running already (task {running.id}).")
        task = LongTask(id=uuid7(now_us()), kind=kind)
        self._tasks[task.id] = task
        for old in list(self._tasks)[:-_KEPT]:
            del self._tasks[old]
        self._running[task.id] = asyncio.create_task(self._run(task, work))
        return task

    async def _run(self, task: LongTask, work: Callable[[], dict[str, Any]]) -> None:
        try:
            task.answer = await asyncio.to_thread(work)
            task.state = "done"
        except HeadgateError as error:
            task.error = {"message": str(error), "code": error.code, "hint": error.hint}
            task.state = "failed"
        except Exception as error:  # the border of a job: it is told to whoever asks, and the server goes on
            _logger.exception("The task %s failed", task.kind)
            task.error = {"message": f"{type(error).__name__}: {error}", "code": "internal", "hint": ""}
            task.state = "failed"

    async def wait(self, task_id: str, timeout_s: float) -> LongTask:
        """The task, as soon as it has ended or the time is over; raises NotFound."""
        task = self._tasks.get(task_id)
        if task is None:
            raise NotFound(f"There is no task {task_id[:60]}.", hint="The last few are kept until the server ends.")
        running = self._running.get(task_id)
        if running is not None:
            await asyncio.wait([running], timeout=timeout_s)
            if running.done():
                self._running.pop(task_id, None)
        return task


class TaskRunning(HeadgateError):
    """One at a time: they hold the log still."""

    code, status = "task_running", 409
    hint = "Wait for it to end."

"""A run as people watch it: a progress bar with what is spent on a terminal, JSON lines for programs, else nothing."""

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.text import json_text, printable, usd

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from headgate.evals.runner.work import Progress


class Watch:
    """Tells of progress on stderr: a bar when that is a terminal, a JSON line per change when asked for."""

    def __init__(self, title: str, *, as_json: bool) -> None:
        self._title, self._as_json = title, as_json
        self._bar: Bar | None = None
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> "Watch":
        if not self._as_json and sys.stderr.isatty():
            self._bar = _new_bar()
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, progress: "Progress") -> None:
        """One change."""
        if self._as_json:
            said = {name: getattr(progress, name) for name in progress.__dataclass_fields__}
            click.echo(json_text({"event": "progress", "system": self._title, **said}, indent=None), err=True)
        elif self._bar is not None:
            self._show(self._bar, progress)

    def _show(self, bar: "Bar", progress: "Progress") -> None:
        if progress.phase not in self._tasks:
            name = f"{self._title}  {progress.phase}"
            self._tasks[progress.phase] = bar.add_task(printable(name), total=progress.total, spent="", note="")
        failed = f", {progress.failed} failed" if progress.failed else ""
        bar.update(
            self._tasks[progress.phase],
            completed=progress.done + progress.failed,
            spent=usd(progress.spent_usd) + (f" + {progress.unpriced} unpriced" if progress.unpriced else "") + failed,
            note=printable(progress.note)[:60],
        )


def _new_bar() -> "Bar":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[spent]}", markup=False),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=Console(stderr=True, highlight=False, markup=False, emoji=False),
    )

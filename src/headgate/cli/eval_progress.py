"""A run as people watch it: a progress bar with what is spent on a terminal, JSON lines for programs, else nothing."""

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.text import count, json_text, printable, usd

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from headgate.evals.runner.work import Progress

_MOST_NOTE_CHARS = 60
_LEAST_NAME_CHARS = 8
_FIGURES_CHARS = 72  # phase, bar and figures, when there is much to say; what is left is the name's


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
        """One line per phase: what the log had counts as done, and time is estimated from what is called now."""
        if progress.phase not in self._tasks:
            self._tasks[progress.phase] = bar.add_task(
                f"{_cut(printable(self._title), bar.console.width - _FIGURES_CHARS)}  {printable(progress.phase)}",
                total=progress.cached + progress.total,
                completed=progress.cached,
                facts="",
                note="",
            )
        bar.update(
            self._tasks[progress.phase],
            completed=progress.cached + progress.done + progress.failed,
            facts=", ".join(_facts(progress)),
            note=_cut(printable(progress.note), _MOST_NOTE_CHARS),
        )


def _cut(text: str, most: int) -> str:
    """At most so many characters, but never less than a few."""
    most = max(most, _LEAST_NAME_CHARS)
    return text if len(text) <= most else text[: most - 1] + "…"


def _facts(progress: "Progress") -> list[str]:
    """What is spent, what cost nothing as it was there, what went wrong: only what there is to say."""
    facts = [usd(progress.spent_usd)]
    if progress.failed:
        facts.append(f"{count(progress.failed)} failed")
    if progress.unpriced:
        facts.append(f"{count(progress.unpriced)} unpriced")
    if progress.cached:
        facts.append(f"{progress.cached / (progress.cached + progress.total):.0%} cached")
    return facts


def _new_bar() -> "Bar":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Column

    # On a narrow terminal the bar shrinks first, then the note is cut; a line never breaks.
    return Progress(
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(bar_width=16, table_column=Column(min_width=4)),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True, table_column=Column(no_wrap=True, min_width=5)),
        TextColumn("{task.fields[facts]}", markup=False, table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[note]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
        console=Console(stderr=True, highlight=False, markup=False, emoji=False),
    )

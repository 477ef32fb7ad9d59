"""What commands print: a table that fits the terminal, tab-separated text on a pipe, JSON on request."""

import csv
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import click

from headgate.cli.text import MISSING, json_text, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Row = Mapping[str, Any]
_GAP = 2


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a listing: ``pick`` reads the stored value for a pipe, ``show`` writes the cell for people."""

    title: str
    pick: Callable[[Row], Any]
    show: Callable[[Row], str] | None = None  # None: what was picked
    name: str = ""  # the header on a pipe; empty: the title in lower case
    only: Literal["terminal", "pipe"] | None = None
    right: bool = False
    rank: int = 0  # columns with the highest rank leave first when the terminal is narrow; 0 never leaves
    least: int = 1000  # a long column is shortened down to this width, before others leave

    def cell(self, row: Row) -> str:
        """The cell for people: harmless text, ``-`` for unknown."""
        if self.show is not None:
            return self.show(row)
        value = self.pick(row)
        return MISSING if value is None else printable(value)


def column(title: str, name: str, look: Callable[[Any], str] | None = None, **more: Any) -> Column:
    """A column that shows one field of a row, through ``look``; ``more`` as in :class:`Column`."""
    show = None if look is None else lambda row: look(row.get(name))
    return Column(title=title, name=name, pick=lambda row: row.get(name), show=show, **more)


def emit_json(value: Any) -> None:
    """``value`` on stdout as indented JSON."""
    click.echo(json_text(value))


def emit_json_line(value: Any) -> None:
    """``value`` on stdout as one line of JSON."""
    click.echo(json_text(value, indent=None))


def note(text: str) -> None:
    """A sentence for the person at the terminal, on stderr, so that piped output stays data."""
    click.echo(printable(text), err=True)


def is_terminal() -> bool:
    """Whether stdout is read by a person."""
    return sys.stdout.isatty()


def listing(columns: Sequence[Column], rows: Sequence[Row], *, empty: str) -> None:
    """Prints rows: a table on a terminal, tab-separated raw values below a header line on a pipe."""
    if not is_terminal():
        plain = [column for column in columns if column.only != "terminal"]
        click.echo("\t".join(_header(column) for column in plain))
        for row in rows:
            click.echo("\t".join(raw_text(column.pick(row)) for column in plain))
        return
    if not rows:
        click.echo(empty)
        return
    console = terminal()
    console.print(table(columns, rows, console.width))


def raw_text(value: Any) -> str:
    """A value as one tab-separated field: nothing for unknown, JSON for a compound one."""
    if value is None:
        return ""
    if isinstance(value, dict | list):
        return json_text(value, indent=None)
    if isinstance(value, bool):
        return "true" if value else "false"
    return printable(value)


def terminal() -> "Console":
    """The console people read, with every kind of markup off: what is printed is data."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False, soft_wrap=False)


def table(columns: Sequence[Column], rows: Sequence[Row], width: int) -> "Table":
    """A table at most ``width`` characters wide: the least important columns leave first, the rest is shortened."""
    from rich.table import Table
    from rich.text import Text

    columns = [column for column in columns if column.only != "pipe"]
    cells = [[column.cell(row) for column in columns] for row in rows]
    widths = fitted_widths(columns, cells, width)
    made = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold", show_edge=False)
    for at, cell_width in widths.items():
        justify: Literal["left", "right"] = "right" if columns[at].right else "left"
        made.add_column(Text(columns[at].title), justify=justify, width=cell_width, no_wrap=True, overflow="ellipsis")
    for row in cells:
        made.add_row(*(Text(row[at]) for at in widths))
    return made


def fitted_widths(columns: Sequence[Column], cells: Sequence[Sequence[str]], width: int) -> dict[int, int]:
    """The columns that fit and their widths: the highest rank leaves until the rest, shortened to the least, has room;
    then the widest are shortened first.
    """
    from rich.cells import cell_len

    titles = [cell_len(column.title) for column in columns]
    natural = [max([titles[at], *(cell_len(row[at]) for row in cells)]) for at in range(len(columns))]
    least = [min(natural[at], max(column.least, titles[at])) for at, column in enumerate(columns)]
    kept = list(range(len(columns)))
    while sum(least[at] + _GAP for at in kept) > width:
        last = max(kept, key=lambda at: (columns[at].rank, at))
        if columns[last].rank == 0:
            break
        kept.remove(last)
    widths = {at: min(natural[at], max(least[at], width)) for at in kept}
    excess = sum(widths.values()) + _GAP * len(kept) - width
    while excess > 0 and any(widths[at] > least[at] for at in kept):
        widest = max((at for at in kept if widths[at] > least[at]), key=lambda at: widths[at])
        widths[widest] -= 1
        excess -= 1
    return widths


def write_csv(titles: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Rows as CSV on stdout: exactly as stored on a pipe, with steering characters written out on a terminal."""
    show: Callable[[str], str] = printable if is_terminal() else str
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([show(title) for title in titles])
    for row in rows:
        writer.writerow("" if cell is None else show(_csv_cell(cell)) for cell in row)


def _csv_cell(cell: Any) -> str:
    return json_text(cell, indent=None) if isinstance(cell, dict | list) else str(cell)


def facts(pairs: Sequence[tuple[str, str]]) -> None:
    """Names and values, one per line, the values below each other. The values must be printable already."""
    width = max((len(name) for name, _ in pairs), default=0)
    for name, value in pairs:
        click.echo(f"{name:<{width}}  {value}")


def heading(title: str) -> None:
    """A line above a section."""
    click.echo(f"\n{click.style(title, bold=True)}")


def _header(column: Column) -> str:
    return column.name or column.title.lower().replace(" ", "_")

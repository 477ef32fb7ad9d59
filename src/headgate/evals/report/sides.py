"""Two texts beside each other: equal lines in one row, changed words marked, bounded in time and size."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from headgate.prompts.differences import Line, Piece, compared

MOST_ROWS = 120


@dataclass(frozen=True, kw_only=True)
class SideRow:
    """One row of the comparison; of a ``gap`` row, the left side says how many equal lines are left out."""

    kind: Literal["same", "changed", "gap"]
    before: tuple[Piece, ...] | None  # None: this side has no such line
    after: tuple[Piece, ...] | None


@dataclass(frozen=True, kw_only=True)
class Sides:
    """Both texts in rows, and how many rows were left out at the end."""

    rows: tuple[SideRow, ...]
    left_out: int
    is_same: bool


def side_by_side(before: str, after: str) -> Sides:
    """What ``before`` became in ``after``."""
    if before == after:
        rows = [SideRow(kind="same", before=_plain(line), after=_plain(line)) for line in before.split("\n")]
    else:
        rows = _rows(compared(before, after))
    return Sides(rows=tuple(rows[:MOST_ROWS]), left_out=max(0, len(rows) - MOST_ROWS), is_same=before == after)


def _plain(text: str) -> tuple[Piece, ...]:
    return (Piece(text=text, is_changed=False),)


def _rows(lines: Sequence[Line]) -> list[SideRow]:
    rows: list[SideRow] = []
    gone: list[Line] = []
    come: list[Line] = []
    for line in lines:
        if line.mark == "-":
            if come:  # a block ended: what goes next belongs to another place
                rows += _changed(gone, come)
                gone, come = [], []
            gone.append(line)
        elif line.mark == "+":
            come.append(line)
        else:
            rows += _changed(gone, come)
            gone, come = [], []
            kind: Literal["same", "gap"] = "gap" if line.mark == "~" else "same"
            rows.append(SideRow(kind=kind, before=line.pieces, after=line.pieces))
    return rows + _changed(gone, come)


def _changed(gone: Sequence[Line], come: Sequence[Line]) -> list[SideRow]:
    return [
        SideRow(
            kind="changed",
            before=gone[index].pieces if index < len(gone) else None,
            after=come[index].pieces if index < len(come) else None,
        )
        for index in range(max(len(gone), len(come)))
    ]

"""Sets of whole numbers as sorted spans: what is dense stays small, however much it counts."""

from collections.abc import Iterable, Sequence

Span = tuple[int, int]
"""First and last, both in it."""


def spans_of(numbers: Iterable[int]) -> list[Span]:
    """The set of ``numbers``."""
    return union([(number, number) for number in numbers])


def union(*sets: Sequence[Span]) -> list[Span]:
    """Every number that is in one of ``sets``."""
    found: list[Span] = []
    for first, last in sorted(span for spans in sets for span in spans):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


def difference(spans: Sequence[Span], without: Sequence[Span]) -> list[Span]:
    """The numbers of ``spans`` that are not in ``without``; both are sorted, as ``union`` makes them."""
    found: list[Span] = []
    at = 0
    for first, last in spans:
        while at < len(without) and without[at][1] < first:
            at += 1
        reached, index = first, at
        while index < len(without) and without[index][0] <= last:
            if without[index][0] > reached:
                found.append((reached, without[index][0] - 1))
            reached = max(reached, without[index][1] + 1)
            index += 1
        if reached <= last:
            found.append((reached, last))
    return found


def common(spans: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    """The numbers that are in both."""
    return difference(spans, difference(spans, others))


def size(spans: Sequence[Span]) -> int:
    """How many numbers there are."""
    return sum(last - first + 1 for first, last in spans)


def holes(spans: Sequence[Span]) -> list[Span]:
    """The numbers from 1 to the greatest that are not there."""
    return difference([(1, spans[-1][1])], spans) if spans else []


def said(spans: Sequence[Span], most: int = 5) -> str:
    """For people: ``3, 7-9``; no more than ``most`` spans."""
    shown = [str(first) if first == last else f"{first}-{last}" for first, last in spans[:most]]
    return ", ".join(shown) + (f" and {len(spans) - most} more spans" if len(spans) > most else "")

"""The PandaLM labels of tests/data, as columns."""

import csv
from functools import cache
from pathlib import Path

FILE = Path(__file__).parents[1] / "data" / "pandalm_labels.csv"
HUMANS = ("annotator1", "annotator2", "annotator3")


@cache
def rows() -> tuple[dict[str, str], ...]:
    with FILE.open(encoding="utf-8", newline="") as lines:
        return tuple(csv.DictReader(lines))


def column(name: str) -> list[str]:
    return [row[name] for row in rows()]


@cache
def majority() -> tuple[str, ...]:
    """What at least two of the three people said; there is always such a label."""
    found = []
    for row in rows():
        said = [row[name] for name in HUMANS]
        found.append(max(set(said), key=said.count))
    return tuple(found)

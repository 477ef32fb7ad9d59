"""Results sorted for a report: by scorer and item, repeats averaged, each answer counted once."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from headgate.evals.facts import RunFacts, ScorerFacts
from headgate.evals.report.model import Number, Scored, Unit
from headgate.evals.results import Result

_UNITS: Mapping[str, Unit] = {"latency": "ms", "cost": "usd", "length": "count"}
LEVEL = 0.95
Key = tuple[str, int]
"""Item and repeat: one answer."""


@dataclass(frozen=True, kw_only=True)
class Grouped:
    """One side's results by what a report asks for."""

    facts: RunFacts
    by_scorer: Mapping[str, Mapping[str, Sequence[Result]]]  # scorer → item → its rows by repeat
    tags: Mapping[str, Mapping[str, str]]  # item → tags
    clusters: Mapping[str, str]  # item → cluster; items without one are alone
    cells: Mapping[Key, Result] = field(default_factory=dict)  # the answer's own figures

    @cached_property
    def items(self) -> list[str]:
        """Every item with a row, by id."""
        return sorted(self.tags)

    def values(self, scorer: str, items: Iterable[str] | None = None) -> dict[str, float]:
        """Item to its mean score over the repeats that have one."""
        found: dict[str, float] = {}
        rows = self.by_scorer.get(scorer, {})
        for item in rows if items is None else items:
            values = [row.value for row in rows.get(item, ()) if row.status == "ok" and row.value is not None]
            if values:
                found[item] = sum(values) / len(values)
        return found

    def figures(self, pick: Callable[[Result], float | None], items: Iterable[str] | None = None) -> dict[str, float]:
        """Item to the mean of a figure of its answers; items where no repeat has it are left out."""
        wanted = None if items is None else set(items)
        by_item: dict[str, list[float]] = {}
        for (item, _), row in self.cells.items():
            value = pick(row)
            if value is not None and (wanted is None or item in wanted):
                by_item.setdefault(item, []).append(value)
        return {item: sum(values) / len(values) for item, values in by_item.items()}

    def with_status(self, scorer: str, status: str) -> int:
        """How many rows of a scorer have a status."""
        return sum(row.status == status for rows in self.by_scorer.get(scorer, {}).values() for row in rows)


def grouped(facts: RunFacts) -> Grouped:
    """The results of one side, in the order of items and repeats whatever order they came in."""
    by_scorer: dict[str, dict[str, list[Result]]] = {}
    tags: dict[str, Mapping[str, str]] = {}
    clusters: dict[str, str] = {}
    cells: dict[Key, Result] = {}
    for row in sorted(facts.results, key=lambda one: (one.item, one.repeat, one.scorer)):
        by_scorer.setdefault(row.scorer, {}).setdefault(row.item, []).append(row)
        tags.setdefault(row.item, dict(sorted(row.tags.items())))
        if row.cluster is not None:
            clusters[row.item] = row.cluster
        cells.setdefault((row.item, row.repeat), row)
    return Grouped(facts=facts, by_scorer=by_scorer, tags=tags, clusters=clusters, cells=cells)


def scorer_facts(side: Grouped, scorer: str) -> ScorerFacts:
    """What is known of a scorer; imported results may have ones that nobody described."""
    return side.facts.scorers.get(scorer) or ScorerFacts(id=scorer)


def unit_of(facts: ScorerFacts) -> Unit:
    """The unit of a scorer's values."""
    return _UNITS.get(facts.type, "")


def is_check(facts: ScorerFacts, sides: Sequence[Grouped]) -> bool:
    """Whether a scorer says pass or fail: it must pass, or it never said anything but 0 and 1."""
    if facts.must_pass:
        return True
    if facts.equal_at is not None or facts.direction == "lower":
        return False
    rows = [row for side in sides for rows in side.by_scorer.get(facts.id, {}).values() for row in rows]
    return all(row.value in (0.0, 1.0) for row in rows if row.status == "ok")


def scored(rows: Sequence[Result], facts: ScorerFacts, check: bool) -> Scored | None:
    """The repeats of one item as one word; the reason is that of the worst repeat."""
    if not rows:
        return None
    known = [row for row in rows if row.status == "ok" and row.value is not None]
    errors = sum(row.status == "error" for row in rows)
    worst = (min if facts.direction == "higher" else max)(known, key=lambda row: row.value or 0.0) if known else rows[0]
    return Scored(
        value=sum(row.value or 0.0 for row in known) / len(known) if known else None,
        status="ok" if known else "error" if errors else "unscored",
        reason=worst.reason,
        repeats=len(rows),
        is_failed=check and any((row.value or 0.0) < 1 for row in known),
        unscored=sum(row.status == "unscored" for row in rows),
        errors=errors,
    )


def mean_number(values: Mapping[str, float], clusters: Mapping[str, str], *, check: bool = False) -> Number:
    """The mean over items with its interval: Wilson for independent passes, else Student's t, clustered if need be."""
    if not values:
        return Number(value=None, method="", reason="no case has a value")
    # numpy is for those who compute: neither a command's help nor a serving control process waits for it.
    import numpy as np

    from headgate.stats.means import estimate_mean
    from headgate.stats.proportions import wilson

    items = sorted(values)
    array = np.array([values[item] for item in items], dtype=np.float64)
    codes = None
    if any(item in clusters for item in items):
        names = [f"c{clusters[item]}" if item in clusters else f"i{item}" for item in items]
        numbers = {name: number for number, name in enumerate(sorted(set(names)))}
        codes = np.array([numbers[name] for name in names], dtype=np.int64)
    found = estimate_mean(array, codes)
    interval, method = found.interval(LEVEL), found.method
    if check and codes is None and all(value in (0.0, 1.0) for value in values.values()):
        interval, method = wilson(float(array.sum()), len(items), LEVEL), "Wilson"
    low, high = (None, None) if interval is None else interval
    return Number(
        value=found.mean, low=low, high=high, level=None if interval is None else LEVEL, se=found.se, n=found.n,
        clusters=found.clusters, method=method,
    )  # fmt: skip

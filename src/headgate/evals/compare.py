"""Two sets of results beside each other: paired by item, with intervals, wins and losses, slice by slice."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np

from headgate.evals.faults import EvaluationFault
from headgate.evals.results import Result
from headgate.stats.means import FEW_CLUSTERS, Codes, Floats, MeanEstimate, estimate_mean
from headgate.stats.paired import mcnemar_exact, pairing, tango_interval

Direction = Literal["higher", "lower"]


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """A confidence interval."""

    low: float
    high: float
    method: str


class Moments(msgspec.Struct, frozen=True, kw_only=True):
    """One side's mean over the paired items."""

    mean: float
    se: float | None
    interval: Interval | None


class SliceComparison(msgspec.Struct, frozen=True, kw_only=True):
    """The paired difference among the items with one value of a tag."""

    tag: str
    value: str
    n: int
    clusters: int | None
    mean_a: float
    mean_b: float
    difference: float
    se: float | None
    interval: Interval | None
    p_loss: float | None  # one-sided: how surprising this loss would be if there were none
    wins: int
    ties: int
    losses: int


class ScorerComparison(msgspec.Struct, frozen=True, kw_only=True):
    """One scorer on both sides; ``difference`` is a − b, wins and losses follow the scorer's direction."""

    scorer: str
    direction: str
    kind: str  # binary | continuous
    n: int
    clusters: int | None
    only_a: int  # items with a score on this side alone: they leave the pairs
    only_b: int
    unscored_a: int  # rows without a score
    unscored_b: int
    a: Moments
    b: Moments
    difference: float
    se: float | None
    df: int | None
    interval: Interval | None
    p: float | None
    method: str
    se_unpaired: float | None
    correlation: float | None
    discordant: tuple[int, int] | None  # binary: a right and b wrong, b right and a wrong
    mcnemar_p: float | None
    tango: Interval | None
    wins: int
    ties: int
    losses: int
    slices: tuple[SliceComparison, ...] = ()
    warnings: tuple[str, ...] = ()


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that two sides have in common, scorer by scorer."""

    a: str  # system of the first side
    b: str
    level: float
    items_a: int
    items_b: int
    items_paired: int
    scorers: tuple[ScorerComparison, ...]
    warnings: tuple[str, ...] = ()


_SLICE_VALUES = range(2, 21)
"""A tag with fewer values is no slice, and one with more names items rather than groups."""


def compare(
    a: Sequence[Result],
    b: Sequence[Result],
    *,
    level: float = 0.95,
    directions: Mapping[str, Direction] | None = None,
    slices: Sequence[str] = (),
) -> Comparison:
    """Both sides' results, scorer by scorer, paired by item; repeats are averaged first, unscored rows leave the pairs.

    ``slices`` names tags; empty: every tag with 2 to 20 values. Raises EvaluationFault when a side holds nothing, or
    results of several systems.
    """
    system_a, system_b = _system(a), _system(b)
    warnings = []
    items_a, items_b = {row.item for row in a}, {row.item for row in b}
    paired = items_a & items_b
    if not paired:
        warnings.append("the sides have no item in common")
    elif len(paired) < max(len(items_a), len(items_b)):
        warnings.append(f"{len(items_a | items_b) - len(paired)} items are on one side only and are left out")
    by_a, by_b = _by_scorer(a), _by_scorer(b)
    about = _about_items((*b, *a))
    tags = tuple(slices) or _sliceable(about, paired)
    found = []
    for scorer in sorted(by_a.keys() & by_b.keys()):
        direction = (directions or {}).get(scorer, "higher")
        one = _compared(scorer, direction, by_a[scorer], by_b[scorer], about, tags, level)
        if one is None:
            warnings.append(f"{scorer}: no item has a score on both sides")
        else:
            found.append(one)
    warnings += [f"{scorer} is on one side only" for scorer in sorted(by_a.keys() ^ by_b.keys())]
    return Comparison(
        a=system_a,
        b=system_b,
        level=level,
        items_a=len(items_a),
        items_b=len(items_b),
        items_paired=len(paired),
        scorers=tuple(found),
        warnings=tuple(warnings),
    )


class Side(msgspec.Struct, kw_only=True):
    """One scorer on one side: each item's mean over its scored repeats, and how many rows had no score."""

    means: dict[str, float]
    rows: int
    unscored: int
    errors: int


def side_of(rows: Sequence[Result]) -> Side:
    """The item means of one scorer's rows."""
    values: dict[str, list[float]] = {}
    unscored = errors = 0
    for row in rows:
        if row.status == "ok" and row.value is not None:
            values.setdefault(row.item, []).append(row.value)
        else:
            unscored += 1
            errors += row.status == "error"
    means = {item: sum(given) / len(given) for item, given in values.items()}
    return Side(means=means, rows=len(rows), unscored=unscored, errors=errors)


def cluster_codes(clusters: Sequence[str | None]) -> Codes | None:
    """Numbers from 0 for clusters; None when no item names one. An item without one is a cluster of its own."""
    if all(cluster is None for cluster in clusters):
        return None
    numbers: dict[tuple[str, str | int], int] = {}
    keys = [("own", at) if cluster is None else ("named", cluster) for at, cluster in enumerate(clusters)]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def _compared(
    scorer: str,
    direction: Direction,
    rows_a: Sequence[Result],
    rows_b: Sequence[Result],
    about: Mapping[str, Result],
    tags: Sequence[str],
    level: float,
) -> ScorerComparison | None:
    a, b = side_of(rows_a), side_of(rows_b)
    items = sorted(a.means.keys() & b.means.keys())
    if not items:
        return None
    left = np.array([a.means[item] for item in items])
    right = np.array([b.means[item] for item in items])
    codes = cluster_codes([about[item].cluster for item in items])
    found = estimate_mean(left - right, codes)
    kind = "binary" if bool(np.all(np.isin(np.concatenate((left, right)), (0.0, 1.0)))) else "continuous"
    pairs = pairing(left, right)
    signed = (left - right) * (1 if direction == "higher" else -1)
    discordant = (int(np.sum(left > right)), int(np.sum(right > left))) if kind == "binary" else None
    tango = None
    if discordant is not None and codes is None:
        low, high = tango_interval(*discordant, len(items), level)
        tango = Interval(low=low, high=high, method="Tango score")
    sliced = [one for tag in tags for one in _sliced(tag, items, left, right, codes, about, direction, level)]
    return ScorerComparison(
        scorer=scorer,
        direction=direction,
        kind=kind,
        n=len(items),
        clusters=found.clusters,
        only_a=len(a.means) - len(items),
        only_b=len(b.means) - len(items),
        unscored_a=a.unscored,
        unscored_b=b.unscored,
        a=_moments(left, codes, level),
        b=_moments(right, codes, level),
        difference=found.mean,
        se=found.se,
        df=found.df,
        interval=_interval(found, level),
        p=found.p_two_sided(),
        method=f"paired {found.method}",
        se_unpaired=pairs.se_unpaired,
        correlation=pairs.correlation,
        discordant=discordant,
        mcnemar_p=None if discordant is None else mcnemar_exact(*discordant),
        tango=tango,
        wins=int(np.sum(signed > 0)),
        ties=int(np.sum(signed == 0)),
        losses=int(np.sum(signed < 0)),
        slices=tuple(sliced),
        warnings=_cluster_warnings(found),
    )


def _sliced(
    tag: str,
    items: Sequence[str],
    left: Floats,
    right: Floats,
    codes: Codes | None,
    about: Mapping[str, Result],
    direction: Direction,
    level: float,
) -> Iterator[SliceComparison]:
    values = [about[item].tags.get(tag) for item in items]
    for value in sorted({value for value in values if value is not None}):
        chosen = np.array([given == value for given in values])
        inner = None
        if codes is not None:
            inner = np.unique(codes[chosen], return_inverse=True)[1].astype(np.int64)
        found = estimate_mean(left[chosen] - right[chosen], inner)
        sign = 1 if direction == "higher" else -1
        signed = (left[chosen] - right[chosen]) * sign
        yield SliceComparison(
            tag=tag,
            value=value,
            n=found.n,
            clusters=found.clusters,
            mean_a=float(np.mean(left[chosen])),
            mean_b=float(np.mean(right[chosen])),
            difference=found.mean,
            se=found.se,
            interval=_interval(found, level),
            p_loss=estimate_mean(signed, inner).p_below(0.0),
            wins=int(np.sum(signed > 0)),
            ties=int(np.sum(signed == 0)),
            losses=int(np.sum(signed < 0)),
        )


def _moments(values: Floats, codes: Codes | None, level: float) -> Moments:
    found = estimate_mean(values, codes)
    return Moments(mean=found.mean, se=found.se, interval=_interval(found, level))


def _interval(found: MeanEstimate, level: float) -> Interval | None:
    bounds = found.interval(level)
    return None if bounds is None else Interval(low=bounds[0], high=bounds[1], method=found.method)


def _cluster_warnings(found: MeanEstimate) -> tuple[str, ...]:
    if found.clusters is None or found.clusters >= FEW_CLUSTERS:
        return ()
    if found.clusters == 1:
        return ("one cluster: how far the difference may be off cannot be known",)
    return (f"only {found.clusters} clusters: the interval is probably too narrow",)


def _by_scorer(rows: Sequence[Result]) -> dict[str, list[Result]]:
    found: dict[str, list[Result]] = {}
    for row in rows:
        found.setdefault(row.scorer, []).append(row)
    return found


def _about_items(rows: Sequence[Result]) -> dict[str, Result]:
    """A row of each item, for its tags and cluster; the last one counts."""
    return {row.item: row for row in rows}


def _sliceable(about: Mapping[str, Result], items: set[str]) -> tuple[str, ...]:
    values: dict[str, set[str]] = {}
    for item in items:
        for tag, value in about[item].tags.items():
            values.setdefault(tag, set()).add(value)
    return tuple(sorted(tag for tag, given in values.items() if len(given) in _SLICE_VALUES))


def _system(rows: Sequence[Result]) -> str:
    systems = {row.system for row in rows}
    if len(systems) != 1:
        what = "no results" if not systems else f"results of {len(systems)} systems: {', '.join(sorted(systems)[:10])}"
        raise EvaluationFault(f"A side of a comparison holds {what}.", hint="Name one run, or RUN:SYSTEM.")
    return systems.pop()

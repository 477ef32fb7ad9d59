"""Two sets of results beside each other: paired by item, with intervals, wins and losses, slice by slice."""

import msgspec


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

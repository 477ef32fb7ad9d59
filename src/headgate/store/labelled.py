"""Realised performance of classic models: predictions joined to their labels, reduced to counts and sums in the log."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import resources
from typing import Any

from headgate.store.log import Log

MAX_PAIRS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which predictions: of a model, in a time, of a project (None: all), called by an alias (None: any)."""

    model: str
    since: datetime
    until: datetime
    project: str | None = None
    alias: str | None = None

    def parameters(self) -> dict[str, Any]:
        """As the SQL names them."""
        return {
            "model": self.model,
            "since": self.since,
            "until": self.until,
            "project": self.project,
            "alias": self.alias,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """How scores order positives before negatives in one version, with the parts of DeLong's variance."""

    positives: int
    negatives: int
    auc: float | None
    variance: float | None
    brier_mean: float | None
    brier_sd: float | None


@cache
def _labelled() -> str:
    return (resources.files("headgate.store") / "labelled.sql").read_text(encoding="utf-8")


def coverage(log: Log, asked: Asked) -> dict[int, tuple[int, int]]:
    """Per version: predictions, and how many of them have a label."""
    sql = f"""SELECT version, count(*), count(*) FILTER (label IS NOT NULL OR value IS NOT NULL)
              FROM ({_labelled()}) GROUP BY version ORDER BY version"""
    return {row[0]: (row[1], row[2]) for row in _rows(log, sql, asked.parameters())}


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """The answered calls of one version, with how long they took in milliseconds."""

    calls: int
    rows: int
    p50_ms: float | None
    p95_ms: float | None


def calls(log: Log, asked: Asked) -> dict[int, Calls]:
    """Per version: answered calls, the rows in them, and their latency."""
    sql = """
        WITH answered AS (
            SELECT version, request_id, count(*) AS n FROM predictions
            WHERE model = $model AND predicted_at >= $since AND predicted_at < $until
              AND ($alias IS NULL OR alias = $alias)
            GROUP BY ALL
        )
        SELECT version, count(*), sum(n)::BIGINT, quantile_cont(latency_ms, 0.5), quantile_cont(latency_ms, 0.95)
        FROM answered JOIN exchanges AS r USING (request_id)
        WHERE r.purpose = 'traffic' AND ($project IS NULL OR r.project = $project)
        GROUP BY version ORDER BY version"""
    return {
        row[0]: Calls(calls=row[1], rows=row[2], p50_ms=_number(row[3]), p95_ms=_number(row[4]))
        for row in _rows(log, sql, asked.parameters())
    }


def confusion(log: Log, asked: Asked) -> dict[int, dict[tuple[str, str], int]]:
    """Per version: how often which class was predicted where which was true, as (predicted, true)."""
    sql = f"""SELECT version, predicted, coalesce(label, value::VARCHAR) AS truth, count(*)
              FROM ({_labelled()}) WHERE predicted IS NOT NULL AND (label IS NOT NULL OR value IS NOT NULL)
              GROUP BY ALL ORDER BY ALL LIMIT {MAX_PAIRS}"""
    found: dict[int, dict[tuple[str, str], int]] = {}
    for version, predicted, truth, count in _rows(log, sql, asked.parameters()):
        found.setdefault(version, {})[predicted, truth] = count
    return found


def ranking(log: Log, asked: Asked, positive: str) -> dict[int, Ranking]:
    """Per version of a classifier of two classes: ROC AUC and Brier score of the positive class's score."""
    sql = f"""
        WITH cases AS (
            SELECT version, CASE WHEN predicted = $positive THEN score ELSE 1 - score END AS s,
                   coalesce(label, value::VARCHAR) = $positive AS hit
            FROM ({_labelled()})
            WHERE predicted IS NOT NULL AND score IS NOT NULL AND (label IS NOT NULL OR value IS NOT NULL)
        ),
        steps AS (
            SELECT version, s, count(*) FILTER (hit) AS p, count(*) FILTER (NOT hit) AS n
            FROM cases GROUP BY version, s
        ),
        placed AS (
            SELECT version, p, n, sum(p) OVER v AS positives, sum(n) OVER v AS negatives,
                   sum(n) OVER (PARTITION BY version ORDER BY s) - n / 2.0 AS below,
                   sum(p) OVER (PARTITION BY version ORDER BY s DESC) - p / 2.0 AS above
            FROM steps WINDOW v AS (PARTITION BY version)
        ),
        areas AS (
            SELECT version, any_value(positives)::BIGINT AS positives, any_value(negatives)::BIGINT AS negatives,
                   sum(p * below) / nullif(any_value(positives * negatives), 0) AS auc,
                   sum(p * (below / nullif(negatives, 0)) ** 2) AS square_p,
                   sum(n * (above / nullif(positives, 0)) ** 2) AS square_n
            FROM placed GROUP BY version
        ),
        briers AS (
            SELECT version, avg((s - hit::INTEGER) ** 2) AS mean, stddev_samp((s - hit::INTEGER) ** 2) AS sd
            FROM cases GROUP BY version
        )
        SELECT version, positives, negatives, auc,
               (square_p - positives * auc ** 2) / nullif(positives - 1, 0) / nullif(positives, 0)
               + (square_n - negatives * auc ** 2) / nullif(negatives - 1, 0) / nullif(negatives, 0),
               mean, sd
        FROM areas JOIN briers USING (version) ORDER BY version"""
    return {
        row[0]: Ranking(
            positives=row[1],
            negatives=row[2],
            auc=_number(row[3]),
            variance=_number(row[4]),
            brier_mean=_number(row[5]),
            brier_sd=_number(row[6]),
        )
        for row in _rows(log, sql, {**asked.parameters(), "positive": positive})
    }


def errors(log: Log, asked: Asked) -> dict[int, dict[str, float | None]]:
    """Per version of a regression: n, and mean and standard deviation of error, its size and its square; the spread of
    the truth."""
    sql = f"""
        WITH cases AS (
            SELECT version, score - coalesce(value, TRY_CAST(label AS DOUBLE)) AS e,
                   coalesce(value, TRY_CAST(label AS DOUBLE)) AS truth
            FROM ({_labelled()}) WHERE score IS NOT NULL
        )
        SELECT version, count(*), avg(e), stddev_samp(e), avg(abs(e)), stddev_samp(abs(e)), avg(e * e),
               stddev_samp(e * e), var_pop(truth)
        FROM cases WHERE e IS NOT NULL AND isfinite(e) GROUP BY version ORDER BY version"""
    names = ("n", "bias", "bias_sd", "mae", "mae_sd", "mse", "mse_sd", "truth_variance")
    return {
        row[0]: {name: _number(value) for name, value in zip(names, row[1:], strict=True)}
        for row in _rows(log, sql, asked.parameters())
    }


def _rows(log: Log, sql: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    with log.cursor() as cursor:
        return cursor.execute(sql, dict(parameters)).fetchall()


def _number(value: Any) -> float | None:
    return None if value is None else float(value)

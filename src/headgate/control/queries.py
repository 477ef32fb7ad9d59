"""The read side: static SQL over the log's views, with bound parameters, a row limit and a time limit each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

from headgate.control.filters import ERROR_SQL, Filter
from headgate.core.errors import MalformedRequest
from headgate.pricing.reasons import FAILED, NOT_PRICED, NOT_SENT
from headgate.store.log import Log

Row = dict[str, Any]
TIMEOUT_S = 10.0
MAX_GROUPS = 1000

# What `pricing.reasons.group_of` says, for sums.
_UNPRICED = f"""cost_usd IS NULL AND NOT starts_with(coalesce(cost_reason, ''), '{FAILED}')
    AND coalesce(cost_reason, '') NOT IN ('{NOT_SENT}', '{NOT_PRICED}')"""
_ANSWERED = "status IS DISTINCT FROM 101"
"""Not how long a WebSocket was open; its responses have rows of their own."""
_TOTALS = f"""
    count(*) AS requests,
    count(*) FILTER (WHERE {ERROR_SQL}) AS errors,
    sum(cost_usd) AS cost_usd,
    count(cost_usd) AS priced,
    count(*) FILTER (WHERE {_UNPRICED}) AS unpriced,
    count(*) FILTER (WHERE cost_usd IS NULL AND starts_with(cost_reason, '{FAILED}')) AS failed,
    count(*) FILTER (WHERE cost_usd IS NULL AND cost_reason = '{NOT_SENT}') AS not_sent,
    count(*) FILTER (WHERE cost_usd IS NULL AND cost_reason = '{NOT_PRICED}') AS not_priced,
    count(*) FILTER (WHERE usage_source = 'estimated') AS estimated,
    sum(input_tokens) AS input_tokens,
    sum(output_tokens) AS output_tokens,
    sum(cached_input_tokens) AS cached_input_tokens,
    quantile_cont(latency_ms, 0.5) FILTER (WHERE {_ANSWERED}) AS latency_ms_p50,
    quantile_cont(latency_ms, 0.95) FILTER (WHERE {_ANSWERED}) AS latency_ms_p95"""
_REASONS = f"histogram(coalesce(cost_reason, 'unknown')) FILTER (WHERE {_UNPRICED})"

_DIMENSIONS = {
    "model": "coalesce(model, model_requested)",
    "prompt": "CASE WHEN prompt_version IS NULL THEN prompt_name ELSE prompt_name || '@' || prompt_version END",
    "key": "key_id",
    "day": "strftime(started_at, '%Y-%m-%d')",
    "hour": "strftime(started_at, '%Y-%m-%dT%H:00Z')",
    "month": "strftime(started_at, '%Y-%m')",
    "project": "project",
    "user": "user_id",
    "session": "session_id",
    "endpoint": "endpoint",
    "upstream": "upstream",
    "provider": "provider",
    "route": "route",
    "purpose": "purpose",
    "outcome": "outcome",
    "tier": "service_tier",
}
_LOCATORS = (
    "request_encoding",
    "request_content_type",
    "response_encoding",
    "response_content_type",
    "fold_note",
    "output_chars",
    "prompt_chars",
    "attempt_list",
)
DIMENSIONS = (*_DIMENSIONS, "tag.NAME")
_TIMES = frozenset({"day", "hour", "month"})


@dataclass(frozen=True, kw_only=True)
class Page:
    """Some requests, newest first, and whether there are older or newer ones beyond them."""

    rows: list[Row]
    older: str | None  # cursors: the id to continue from
    newer: str | None


def requests_page(log: Log, chosen: Filter, *, limit: int, before: str | None = None, after: str | None = None) -> Page:
    """One page of requests by id, which sorts by time; ``after`` pages towards the newest."""
    narrowed = chosen.copy()
    if after is not None:
        narrowed.add("request_id > ?::UUID", after)
    elif before is not None:
        narrowed.add("request_id < ?::UUID", before)
    order = "ASC" if after is not None else "DESC"
    # Ids first: the columns of the few rows shown are then fetched by id instead of being carried through the sort.
    sql = f"SELECT request_id FROM requests {narrowed.where} ORDER BY request_id {order} LIMIT ?"
    found = [str(row[0]) for row in log.query(sql, [*narrowed.params, limit + 1], timeout_s=TIMEOUT_S).rows]
    has_more, ids = len(found) > limit, sorted(found[:limit], reverse=True)
    rows = requests_by_id(log, ids)
    is_older = has_more if after is None else True
    is_newer = before is not None if after is None else has_more
    return Page(
        rows=rows,
        older=ids[-1] if ids and is_older else None,
        newer=ids[0] if ids and is_newer else None,
    )


def requests_by_id(log: Log, ids: Sequence[str]) -> list[Row]:
    """The requests with these ids, newest first."""
    if not ids:
        return []
    marks = ", ".join(["?::UUID"] * len(ids))
    # The bounds let whole row groups be skipped.
    sql = f"""SELECT * FROM requests WHERE request_id BETWEEN ?::UUID AND ?::UUID AND request_id IN ({marks})
              ORDER BY request_id DESC"""
    return rows_of(log, sql, [min(ids), max(ids), *ids])


def rows_of(log: Log, sql: str, params: Sequence[object] = (), *, max_rows: int | None = None) -> list[Row]:
    """A query's rows by column name."""
    table = log.query(sql, params, timeout_s=TIMEOUT_S, max_rows=max_rows)
    return list(table.dicts())


def one_request(log: Log, request_id: str, project: str | None) -> Row | None:
    """One request, if the asker may see its project."""
    found = Filter()
    found.add("request_id = ?::UUID", request_id)
    if project is not None:
        found.add("project = ?", project)
    rows = rows_of(log, f"SELECT * FROM requests {found.where} LIMIT 1", found.params)
    return rows[0] if rows else None


def totals(log: Log, chosen: Filter) -> Row:
    """Sums over every matching request, with how far the cost covers them."""
    row = rows_of(log, f"SELECT {_TOTALS}, {_REASONS} AS reasons FROM requests {chosen.where}", chosen.params)[0]
    return _with_coverage(row)


def cost(log: Log, chosen: Filter, by: Sequence[str]) -> list[Row]:
    """Totals per group, the dearest first, or in time order when the first group is a time."""
    expressions: list[str] = []
    params: list[object] = []
    for index, name in enumerate(by):
        if name.startswith("tag.") and len(name) > 4:
            expressions.append(f"(tags ->> ?) AS g{index}")
            params.append("/" + name[4:].replace("~", "~0").replace("/", "~1"))
        elif name in _DIMENSIONS:
            expressions.append(f"{_DIMENSIONS[name]} AS g{index}")
        else:
            raise MalformedRequest(f'Cost cannot be grouped by "{name[:60]}".', hint=f"Known: {', '.join(DIMENSIONS)}.")
    groups = ", ".join(f"g{index}" for index in range(len(by)))
    order = "g0 DESC" if by and by[0] in _TIMES else "cost_usd DESC NULLS LAST, requests DESC"
    inner = f"SELECT *, {', '.join(expressions)} FROM requests {chosen.where}"
    sql = f"""SELECT {groups}, {_TOTALS}, {_REASONS} AS reasons FROM ({inner}) GROUP BY {groups}
              ORDER BY {order} LIMIT {MAX_GROUPS}"""
    rows = rows_of(log, sql, [*params, *chosen.params])
    return [{**{name: row.pop(f"g{index}") for index, name in enumerate(by)}, **_with_coverage(row)} for row in rows]


def prompt_usage(log: Log, chosen: Filter, by: Literal["prompt_name", "prompt_version"]) -> dict[Any, Row]:
    """Totals per prompt, or per version of the one prompt that ``chosen`` names; calls without one are left out."""
    narrowed = chosen.copy()
    narrowed.add(f"{by} IS NOT NULL")
    sql = f"""SELECT {by} AS which, {_TOTALS}, {_REASONS} AS reasons, max(started_at) AS last_at
              FROM requests {narrowed.where} GROUP BY which ORDER BY requests DESC LIMIT {MAX_GROUPS}"""
    return {row.pop("which"): _with_coverage(row) for row in rows_of(log, sql, narrowed.params)}


def model_usage(log: Log, chosen: Filter) -> dict[str, Row]:
    """Totals per classic model, refused and failed calls too."""
    narrowed = chosen.copy()
    narrowed.add("endpoint = ?", "model.infer")
    narrowed.add("model IS NOT NULL")
    sql = f"""SELECT model AS which, {_TOTALS}, max(started_at) AS last_at
              FROM requests {narrowed.where} GROUP BY which ORDER BY requests DESC LIMIT {MAX_GROUPS}"""
    return {str(row.pop("which")): row for row in rows_of(log, sql, narrowed.params)}


def strip(log: Log, chosen: Filter, *, since: datetime, until: datetime, buckets: int) -> list[tuple[int, int]]:
    """Requests and errors in equal slices of time, oldest first."""
    width_us = max(1, int((until - since) / timedelta(microseconds=1)) // buckets)
    sql = f"""SELECT least((epoch_us(started_at) - epoch_us(?::TIMESTAMP)) // ?, ?) AS slice, count(*),
                     count(*) FILTER (WHERE {ERROR_SQL})
              FROM requests {chosen.where} GROUP BY slice"""
    found = log.query(sql, [since, width_us, buckets - 1, *chosen.params], timeout_s=TIMEOUT_S).rows
    by_slice = {int(row[0]): (int(row[1]), int(row[2])) for row in found}
    return [by_slice.get(index, (0, 0)) for index in range(buckets)]


def suggestions(log: Log, chosen: Filter) -> dict[str, list[str]]:
    """Values worth offering beside a filter, the most frequent first."""
    sql = f"""WITH seen AS (SELECT coalesce(model, model_requested) AS model, prompt_name, endpoint
                            FROM requests {chosen.where} LIMIT 200000)
              SELECT 'model', model, count(*) FROM seen WHERE model IS NOT NULL GROUP BY model
              UNION ALL SELECT 'prompt', prompt_name, count(*) FROM seen WHERE prompt_name IS NOT NULL
              GROUP BY prompt_name
              ORDER BY 3 DESC LIMIT 60"""
    offered: dict[str, list[str]] = {"model": [], "prompt": []}
    for kind, value, _ in log.query(sql, chosen.params, timeout_s=TIMEOUT_S).rows:
        offered[str(kind)].append(str(value))
    return offered


def has_requests(log: Log) -> bool:
    """Whether anything was ever stored."""
    return bool(log.query("SELECT 1 FROM requests LIMIT 1", timeout_s=TIMEOUT_S).rows)


def coverage_since(log: Log, since: datetime, project: str | None) -> Row:
    """Totals of the traffic since a time, of one project or of all."""
    chosen = _of_project(project)
    chosen.add("started_at >= ?", since)
    chosen.add("purpose = ?", "traffic")
    return totals(log, chosen)


def coverage(total: Row) -> float | None:
    """The priced part of what may have cost something; None when nothing may."""
    counted = total["priced"] + total["unpriced"]
    return round(total["priced"] / counted, 4) if counted else None


def _with_coverage(row: Row) -> Row:
    """Nothing asked costs nothing; something asked and nothing priced is unknown, not zero."""
    reasons: Mapping[str, int] = row.pop("reasons") or {}
    if row["cost_usd"] is None and row["unpriced"] == 0:
        row["cost_usd"] = Decimal(0)
    row["unpriced_reasons"] = dict(sorted(reasons.items(), key=lambda item: -item[1]))
    return row


def last_seq(log: Log) -> int:
    """The place of the row stored last."""
    return int(log.query("SELECT coalesce(max(seq), 0) FROM exchanges", timeout_s=TIMEOUT_S).rows[0][0])


def stored_after(log: Log, chosen: Filter, after: int, limit: int) -> tuple[list[Row], int]:
    """Rows stored after a place, in that order, and the place to continue from."""
    newest = last_seq(log)
    narrowed = chosen.copy()
    narrowed.add("seq > ?", after)
    narrowed.add("seq <= ?", newest)
    rows = rows_of(log, f"SELECT * FROM requests {narrowed.where} ORDER BY seq LIMIT ?", [*narrowed.params, limit])
    # Rows that the filter leaves out are passed over, unless the page is full and some may follow.
    return rows, int(rows[-1]["seq"]) if len(rows) == limit else max(newest, after)


def calls_by_purpose(log: Log, chosen: Filter) -> list[Row]:
    """How many calls of each purpose, what they cost, how many of them nobody can price, and when the last began."""
    sql = f"""SELECT purpose, count(*) AS calls, sum(cost_usd) AS cost_usd,
                     count(*) FILTER (WHERE {_UNPRICED}) AS unpriced, max(started_at) AS last_at
              FROM requests {chosen.where} GROUP BY purpose"""
    return rows_of(log, sql, chosen.params)


def visible_ids(log: Log, ids: Sequence[str], project: str | None) -> list[str]:
    """Those of the ids that exist within the project (None: in any)."""
    sql = """SELECT request_id FROM requests
             WHERE request_id IN (SELECT TRY_CAST(id AS UUID) FROM (SELECT unnest(?::VARCHAR[]) AS id))
               AND (?::VARCHAR IS NULL OR project = ?)"""
    return [str(row[0]) for row in log.query(sql, [list(ids), project, project], timeout_s=TIMEOUT_S).rows]


def of_purposes(log: Log, ids: Sequence[str], purposes: Sequence[str]) -> int:
    """How many of the requests have one of the purposes."""
    sql = """SELECT count(*) FROM requests WHERE list_contains(?::VARCHAR[], purpose)
             AND request_id IN (SELECT TRY_CAST(id AS UUID) FROM (SELECT unnest(?::VARCHAR[]) AS id))"""
    return int(log.query(sql, [list(purposes), list(ids)], timeout_s=TIMEOUT_S).rows[0][0])


def locators_of(log: Log, request_id: str) -> Row:
    """What the log keeps of one request beside the columns people see."""
    sql = f"SELECT {', '.join(_LOCATORS)} FROM exchanges WHERE request_id = ?::UUID LIMIT 1"
    rows = rows_of(log, sql, [request_id])
    return rows[0] if rows else dict.fromkeys(_LOCATORS)


def _of_project(project: str | None) -> Filter:
    chosen = Filter()
    if project is not None:
        chosen.add("project = ?", project)
    return chosen


def project_facts(log: Log, project: str) -> Row:
    """How many requests of one project are stored, and from when to when."""
    chosen = _of_project(project)
    sql = f"""SELECT count(*) AS requests, min(started_at) AS oldest, max(started_at) AS newest
              FROM requests {chosen.where}"""
    return rows_of(log, sql, chosen.params)[0]


def log_facts(log: Log, since: datetime) -> Row:
    """How many requests are stored, from when to when, and how many bytes of bodies came since a time."""
    sql = """SELECT count(*) AS requests, min(started_at) AS oldest, max(started_at) AS newest,
                    (SELECT coalesce(sum(request_bytes + response_bytes), 0) FROM exchanges WHERE started_at >= ?)
                    AS growth_bytes
             FROM exchanges"""
    return rows_of(log, sql, [since])[0]


def metric_facts(log: Log) -> Row:
    """What a scrape asks of the whole log in one pass; the most frequent reasons only, so labels stay bounded."""
    sql = """WITH reasons AS (SELECT coalesce(cost_reason, 'unknown') AS reason, count(*) AS times FROM exchanges
                              WHERE cost_usd IS NULL GROUP BY reason ORDER BY times DESC LIMIT 20)
             SELECT count(*) AS requests, count(cost_usd) AS priced, sum(cost_usd) AS cost_usd,
                    histogram(outcome) AS outcomes,
                    (SELECT map_from_entries(list((reason, times))) FROM reasons) AS reasons
             FROM exchanges"""
    return rows_of(log, sql)[0]


def oldest(log: Log, chosen: Filter) -> datetime | None:
    """When the first matching request started."""
    sql = f"SELECT min(started_at) FROM requests {chosen.where}"
    found: datetime | None = log.query(sql, chosen.params, timeout_s=TIMEOUT_S).rows[0][0]
    return found


def ids_page(log: Log, chosen: Filter, before: str | None, limit: int) -> list[str]:
    """Ids of matching requests, newest first, older than ``before``."""
    narrowed = chosen.copy()
    if before is not None:
        narrowed.add("request_id < ?::UUID", before)
    sql = f"SELECT request_id FROM requests {narrowed.where} ORDER BY request_id DESC LIMIT ?"
    return [str(row[0]) for row in log.query(sql, [*narrowed.params, limit], timeout_s=TIMEOUT_S).rows]

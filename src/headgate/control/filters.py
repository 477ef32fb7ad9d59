"""Query parameters to a bound SQL condition: every value a parameter, every column from a fixed list."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from headgate.core.durations import BadTime, parse_since
from headgate.core.errors import MalformedRequest
from headgate.core.ids import now_us, utc

ERROR_SQL = "(outcome NOT IN ('ok', 'client_closed') OR (outcome = 'ok' AND coalesce(status, 0) >= 400))"
"""What counts as an error everywhere: not answered well, unless only the client left."""

FILTERS: dict[str, str] = {
    "since": "Only requests started at or after this time: 30m, 24h, 7d, or an ISO time in UTC.",
    "until": "Only requests started before this time, written as for `since`.",
    "model": "Model as asked for or as answered; `*` and `?` match any text or character.",
    "prompt": "Prompt name, or name@version, or name@alias.",
    "key": "Headgate key, by id or name.",
    "endpoint": "openai.chat, openai.responses, openai.realtime, openai.completions, openai.embeddings, "
    "anthropic.messages, model.infer, other.",
    "outcome": "ok, refused, upstream_error, upstream_aborted, timeout, client_closed, interrupted.",
    "status": "HTTP status: 429, or a class: 4xx.",
    "upstream": "Name of the upstream.",
    "session": "Session named by x-headgate-session.",
    "user": "User named by x-headgate-user.",
    "project": "Project of the key.",
    "purpose": "traffic, eval, judge, embedding, shadow, probe, or all.",
    "errors": "1: only requests that went wrong.",
    "q": "Text within model, prompt, path, session, user, client, upstream or error; or how the id begins.",
}
_EQUAL = {
    "endpoint": "endpoint = ?",
    "outcome": "outcome = ?",
    "upstream": "upstream = ?",
    "session": "session_id = ?",
    "user": "user_id = ?",
    "project": "project = ?",
}
_SEARCHED = (
    "model_requested", "model", "prompt_name", "path", "session_id", "user_id", "client", "upstream", "error_type",
    "error_message",
)  # fmt: skip
_TRUTH = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False}
_MAX_VALUE_CHARS = 512
_MAX_TAGS = 20


@dataclass(kw_only=True)
class Filter:
    """A condition over the view `requests`, as SQL text with its parameters in order."""

    clauses: list[str] = field(default_factory=list)
    params: list[object] = field(default_factory=list)

    def add(self, clause: str, *params: object) -> None:
        """One more condition that must hold."""
        self.clauses.append(clause)
        self.params.extend(params)

    @property
    def where(self) -> str:
        """`WHERE …`, or nothing when every request is meant."""
        return f"WHERE {' AND '.join(self.clauses)}" if self.clauses else ""

    def copy(self) -> "Filter":
        """The same condition, free to be narrowed."""
        return Filter(clauses=list(self.clauses), params=list(self.params))


def single_values(pairs: Iterable[tuple[str, str]], known: Iterable[str], *, tags: bool = False) -> dict[str, str]:
    """Query parameters as one value per name; empty values count as absent, unknown and repeated names are refused."""
    names = set(known)
    values: dict[str, str] = {}
    for name, value in pairs:
        if name not in names and not (tags and name.startswith("tag.") and len(name) > 4):
            raise unknown_parameter(name, [*sorted(names), *(["tag.NAME"] if tags else [])])
        if value == "":
            continue
        if name in values:
            raise MalformedRequest(f'The parameter "{_short(name)}" is given twice.', hint="Give it once.")
        if len(value) > _MAX_VALUE_CHARS:
            raise MalformedRequest(f'The parameter "{_short(name)}" is longer than {_MAX_VALUE_CHARS} characters.')
        values[name] = value
    if sum(name.startswith("tag.") for name in values) > _MAX_TAGS:
        raise MalformedRequest(f"More than {_MAX_TAGS} tag filters.", hint="Use headgate sql for such a question.")
    return values


def unknown_parameter(name: str, known: Sequence[str]) -> MalformedRequest:
    """The refusal of a parameter nobody reads, naming the nearest one."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"Nearest: {near[0]}." if near else f"Known: {', '.join(known)}." if known else "It takes none."
    return MalformedRequest(f'Unknown parameter "{_short(name)}".', code="unknown_parameter", hint=hint)


def request_filter(
    values: Mapping[str, str], *, projects: str | None, key_ids: Sequence[str] | None, default_purpose: str | None
) -> Filter:
    """The condition that the parameters in :data:`FILTERS` and ``tag.NAME`` describe.

    ``projects`` is the only project the asker may see (None: all); ``key_ids`` are the ids that ``key`` stands for.
    """
    found = Filter()
    if projects is not None:
        found.add("project = ?", projects)
    if "since" in values:
        found.add("started_at >= ?", moment(values["since"], "since"))
    if "until" in values:
        found.add("started_at < ?", moment(values["until"], "until"))
    purpose = values.get("purpose", default_purpose)
    if purpose not in (None, "all"):
        found.add("purpose = ?", purpose)
    for name, clause in _EQUAL.items():
        if name in values:
            found.add(clause, values[name])
    if key_ids is not None:
        found.add(f"key_id IN ({', '.join('?' * len(key_ids))})" if key_ids else "false", *key_ids)
    _add_names(found, values)
    _add_words(found, values)
    return found


def moment_us(text: str, name: str) -> int:
    """A point in time, microseconds since 1970: `7d` ago, or an ISO time."""
    try:
        return parse_since(text, now_us())
    except (BadTime, OverflowError):
        raise MalformedRequest(
            f'{name}="{_short(text)}" is no time.', hint="Write 30m, 24h, 7d or 2026-11-23T08:00:00Z."
        ) from None


def moment(text: str, name: str) -> datetime:
    """The same as the log stores it: UTC without a zone."""
    return utc(moment_us(text, name)).replace(tzinfo=None)


def whole_number(values: Mapping[str, str], name: str, default: int, *, least: int, most: int) -> int:
    """A bounded whole number among the parameters."""
    text = values.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,18}", text) or not least <= int(text) <= most:
        raise MalformedRequest(f'{name}="{_short(text)}" is no whole number from {least} to {most}.')
    return int(text)


def truth(values: Mapping[str, str], name: str) -> bool:
    """A yes-or-no parameter; absent is no."""
    text = values.get(name, "0").lower()
    if text not in _TRUTH:
        raise MalformedRequest(f'{name}="{_short(text)}" is neither 1 nor 0.')
    return _TRUTH[text]


def _add_names(found: Filter, values: Mapping[str, str]) -> None:
    if "model" in values:
        text = values["model"]
        if "*" in text or "?" in text:
            pattern = text.replace("[", "[[]")
            found.add("(model GLOB ? OR model_requested GLOB ?)", pattern, pattern)
        else:
            found.add("(model = ? OR model_requested = ?)", text, text)
    if "prompt" in values:
        name, _, ref = values["prompt"].partition("@")
        found.add("prompt_name = ?", name)
        if re.fullmatch(r"[0-9]{1,9}", ref):
            found.add("prompt_version = ?", int(ref))
        elif ref:
            found.add("prompt_alias = ?", ref)


def _add_words(found: Filter, values: Mapping[str, str]) -> None:
    if "status" in values:
        text = values["status"].lower()
        if re.fullmatch(r"[1-5]xx", text):
            found.add("status BETWEEN ? AND ?", int(text[0]) * 100, int(text[0]) * 100 + 99)
        elif re.fullmatch(r"[1-5][0-9][0-9]", text):
            found.add("status = ?", int(text))
        else:
            raise MalformedRequest(f'status="{_short(text)}" is no HTTP status.', hint="Write 429 or 4xx.")
    if truth(values, "errors"):
        found.add(ERROR_SQL)
    if "q" in values:
        _add_search(found, values["q"].lower())
    for name, value in values.items():
        if name.startswith("tag."):
            # A JSON pointer takes any name, where a JSON path would need quoting of its own.
            found.add("(tags ->> ?) = ?", "/" + name[4:].replace("~", "~0").replace("/", "~1"), value)


def _add_search(found: Filter, text: str) -> None:
    # Column by column: DuckDB then looks at each distinct value of a block only once.
    clauses = [f"contains(lower({name}), ?)" for name in _SEARCHED]
    params: list[object] = [text] * len(clauses)
    digits = text.replace("-", "")
    if re.fullmatch(r"[0-9a-f]{4,32}", digits):
        clauses.append("request_id BETWEEN ?::UUID AND ?::UUID")
        params += [str(UUID(digits.ljust(32, "0"))), str(UUID(digits.ljust(32, "f")))]
    found.add(f"({' OR '.join(clauses)})", *params)


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "…"

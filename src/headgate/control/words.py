"""Values as people read them: the filters that the page templates use. Unknown is said, never shown as zero."""

import json
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from markupsafe import Markup

from headgate.control.rows import clean, iso, money
from headgate.core.protection import PRODUCTION
from headgate.core.served_models import CHAMPION
from headgate.pricing.reasons import group_of
from headgate.prompts.reference import NAME

_UNKNOWN = "–"
_MAX_PRETTY_CHARS = 100_000
_UNCOUNTED = {"failed": "failed upstream", "not_sent": "not sent", "not_priced": "not to a priced endpoint"}


def count(value: int | None) -> str:
    """A number with thousands set apart."""
    return _UNKNOWN if value is None else f"{value:,}"


def share(part: int, whole: int) -> str:
    """A part of a whole in per cent, never rounded to nothing or to all."""
    if not whole:
        return ""
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "<0.1 %"
    if 99.9 < percent < 100:
        return ">99.9 %"
    return f"{percent:.1f} %" if percent % 1 else f"{percent:.0f} %"


def dollars(value: Decimal) -> str:
    """An amount in US dollars with as many digits as it takes to see it."""
    size = abs(value)
    if size == 0:
        return "$0"
    if size >= 100:
        return f"${value:,.2f}"
    if size >= Decimal("0.01"):
        return f"${value:.4f}"
    if size >= Decimal("0.000001"):
        return f"${value:.6f}"
    return f"${money(value)}"


def duration(ms: float | None) -> str:
    """A time span in the unit that fits."""
    if ms is None:
        return _UNKNOWN
    if ms < 1:
        return f"{ms:.2f} ms"
    if ms < 100:
        return f"{ms:.1f} ms" if ms < 10 else f"{ms:.0f} ms"
    if ms < 1000:
        return f"{ms:.0f} ms"
    seconds = ms / 1000
    if seconds < 120:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min"


def size(value: int | None) -> str:
    """A number of bytes."""
    if value is None:
        return _UNKNOWN
    for unit, step in (("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)):
        if value >= step:
            return f"{value / step:.1f} {unit}"
    return f"{value} bytes"


def minute(value: datetime) -> str:
    """Day and minute."""
    return value.strftime("%Y-%m-%d %H:%M")


def full_time(value: datetime) -> str:
    """Day and millisecond."""
    return value.strftime("%Y-%m-%d %H:%M:%S.") + f"{value.microsecond // 1000:03d}"


def moment_of(value: datetime, today: date) -> str:
    """The time of day, with the day where it is not today's."""
    return value.strftime("%H:%M:%S" if value.date() == today else "%m-%d %H:%M:%S")


def tokens(row: Mapping[str, Any]) -> str:
    """Input and output tokens."""
    if row["input_tokens"] is None and row["output_tokens"] is None:
        return _UNKNOWN
    mark = "~" if row["usage_source"] == "estimated" else ""
    return f"{mark}{count(row['input_tokens'])} → {mark}{count(row['output_tokens'])}"


def cost_cell(row: Mapping[str, Any]) -> str | Markup:
    """What a request cost, or that nobody knows and why."""
    if row["cost_usd"] is not None:
        mark = "~" if row["usage_source"] == "estimated" else ""
        return mark + dollars(row["cost_usd"])
    reason = clean(row["cost_reason"] or "no reason was noted")
    if group_of(row["cost_reason"]) != "unpriced":
        return Markup('<span class="muted" title="{0}">– ({0})</span>').format(reason)
    return Markup('<span class="unpriced" title="{0}">unpriced ({0})</span>').format(reason)


def total_cost(total: Mapping[str, Any]) -> str:
    """A sum of costs; a sum of nothing known is unpriced."""
    return "unpriced" if total["cost_usd"] is None else dollars(total["cost_usd"])


def cost_per_call(total: Mapping[str, Any]) -> str:
    """The mean cost of the calls that have one."""
    return "unpriced" if not total["priced"] else dollars(total["cost_usd"] / total["priced"])


def coverage(total: Mapping[str, Any]) -> str:
    """How far a sum of costs reaches, and what it leaves out because it cost nothing."""
    counted = total["priced"] + total["unpriced"]
    first = f"{count(total['priced'])} of {count(counted)} priced" if total["unpriced"] else "all priced"
    parts = [
        first if counted else "nothing to price",
        *(f"{count(total[name])} {words}" for name, words in _UNCOUNTED.items() if total[name]),
    ]
    return ", ".join(parts)


def prompt_ref(row: Mapping[str, Any]) -> str:
    """Prompt and version as written everywhere: name@7."""
    if row["prompt_name"] is None:
        return ""
    return row["prompt_name"] if row["prompt_version"] is None else f"{row['prompt_name']}@{row['prompt_version']}"


def is_error(row: Mapping[str, Any]) -> bool:
    """The same rule as `filters.ERROR_SQL`."""
    return row["outcome"] not in ("ok", "client_closed") or (row["outcome"] == "ok" and (row["status"] or 0) >= 400)


def outcome_class(row: Mapping[str, Any]) -> str:
    """Which of three colours an outcome has."""
    if is_error(row):
        return "bad"
    return "good" if row["outcome"] == "ok" else "warn"


def pretty(text: str) -> str:
    """JSON with line breaks; anything else as it is."""
    if len(text) > _MAX_PRETTY_CHARS:
        return text
    try:
        return clean(json.dumps(json.loads(text), indent=2, ensure_ascii=False))
    except (ValueError, RecursionError):
        return text


def as_json(value: Any) -> str:
    """A value as JSON; a text as it is."""
    return clean(value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False))


def identity_facts(row: Mapping[str, Any], key_name: Callable[[str | None], str]) -> list[tuple[str, Any]]:
    """Who asked, through what: only what is known."""
    kb = row["kb_name"] and _kb_link(row)
    facts = {
        "Project": row["project"],
        "Key": row["key_id"] and key_name(row["key_id"]),
        "Prompt": _prompt_link(row),
        "Knowledge base": kb,
        "Route": row["route"],
        "Upstream": row["upstream"],
        "Provider": row["provider"],
        "Fell back from": row["fallback_from"],
        "Asked for": row["model_requested"],
        "Answered by": row["model"],
        "Service tier": row["service_tier"],
        "Endpoint": row["endpoint"],
        "Path": f"{row['method']} {row['path']}",
        "Streamed": "yes" if row["stream"] else "no",
        "Session": row["session_id"],
        "User": row["user_id"],
        "Purpose": row["purpose"],
        "Arm": row["arm"],
        "Tags": row["tags"],
        "Client": row["client"],
        "Trace": row["trace_id"] and row["trace_id"].hex,
        "Response id": row["response_id"],
        "Upstream request": row["upstream_request_id"],
        "Request size": size(row["request_bytes"]),
        "Answer size": size(row["response_bytes"]),
        "Captured": row["capture"],
    }
    return [(name, value) for name, value in facts.items() if value]


def dictitems(mapping: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The pairs of a mapping as a list that can be cut."""
    return list(mapping.items())


def _kb_link(row: Mapping[str, Any]) -> str | Markup:
    if row["kb_version"] is None or not NAME.fullmatch(row["kb_name"]):
        return clean(row["kb_name"])
    text = f"{row['kb_name']}@{row['kb_version']}"
    return Markup('<a href="/ui/kb/{}?version={}">{}</a>').format(row["kb_name"], row["kb_version"], text)


def _prompt_link(row: Mapping[str, Any]) -> str | Markup:
    """The prompt of a request; callers may name anything in a header, so only what can be a prompt is a link."""
    text = prompt_ref(row) + (f" by {row['prompt_alias']}" if row["prompt_alias"] else "")
    if row["prompt_name"] is None or not NAME.fullmatch(row["prompt_name"]):
        return text
    return Markup('<a href="/ui/prompts/{}">{}</a>').format(row["prompt_name"], clean(text))


def production_first(aliases: Mapping[str, int]) -> list[tuple[str, int]]:
    """Aliases with their versions, the one that most callers mean in front."""
    return sorted(aliases.items(), key=lambda item: (item[0] not in (PRODUCTION, CHAMPION), item[0]))


FILTERS: dict[str, Callable[..., Any]] = {
    "as_json": as_json,
    "bytes": size,
    "cost_cell": cost_cell,
    "cost_per_call": cost_per_call,
    "count": count,
    "coverage": coverage,
    "dictitems": dictitems,
    "dollars": dollars,
    "duration": duration,
    "full_time": full_time,
    "identity_facts": identity_facts,
    "is_error": is_error,
    "iso": iso,
    "minute": minute,
    "moment_of": moment_of,
    "outcome_class": outcome_class,
    "plain": money,
    "pretty": pretty,
    "production_first": production_first,
    "prompt_ref": prompt_ref,
    "share": share,
    "tokens": tokens,
    "total_cost": total_cost,
}

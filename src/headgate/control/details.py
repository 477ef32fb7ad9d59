"""One stored request with everything behind it: attempts, bodies, price arithmetic, and the decisions in order."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headgate.control import queries
from headgate.control.bodies import Encodings, Readable, body_json, readable, talk_of
from headgate.control.kb_search import shown_chunks
from headgate.control.pricing_step import price_of_row
from headgate.control.rows import money
from headgate.control.state import ControlApp
from headgate.control.words import count, duration, prompt_ref
from headgate.core.errors import NotFound
from headgate.core.routing import matches
from headgate.pricing.cost import Cost
from headgate.pricing.reasons import group_of
from headgate.pricing.request import Priced
from headgate.wire.transcript import Transcript


@dataclass(frozen=True, kw_only=True)
class Details:
    """All that is known of one request."""

    row: Mapping[str, Any]
    attempts: list[dict[str, Any]]
    encodings: Encodings
    fold_note: str | None
    readable: list[Readable]
    talk: Transcript | None
    priced: Priced

    @property
    def price_note(self) -> str | None:
        """What a reader of the arithmetic must know beside it."""
        if self.priced.cost.cost_usd != self.row["cost_usd"]:
            return "the prices known today give another amount; the stored cost is what was known then"
        return self.priced.cost.reason if self.row["cost_usd"] is not None else None


@dataclass(frozen=True, kw_only=True)
class Step:
    """One decision behind an answer."""

    step: str
    decision: str
    detail: str | None = None


def details_of(control: ControlApp, request_id: str, project: str | None, *, with_bodies: bool = True) -> Details:
    """Everything about one request, if the asker may see its project; raises NotFound."""
    row = queries.one_request(control.log, request_id, project)
    if row is None:
        raise NotFound(
            f"There is no request {request_id}.",
            code="request_not_found",
            hint="It may be deleted or past its retention; a new one appears within two seconds of its answer.",
        )
    more = queries.locators_of(control.log, request_id)
    encodings = _encodings(more)
    needs_text = with_bodies or row["usage_source"] == "estimated"
    bodies = control.log.body_of(request_id) if needs_text and row["capture"] in ("full", "truncated") else None
    return Details(
        row=row,
        attempts=[{"attempt": number, **attempt} for number, attempt in enumerate(more["attempt_list"] or [], 1)],
        encodings=encodings,
        fold_note=more["fold_note"],
        readable=[] if bodies is None else readable(bodies, encodings),
        talk=talk_of(row["endpoint"], bodies, encodings) if bodies is not None and with_bodies else None,
        priced=price_of_row(control.catalog, row, more, bodies),
    )


def bodies_json(control: ControlApp, request_id: str) -> dict[str, Any] | None:
    """The bodies of one request for JSON; None when none are kept."""
    bodies = control.log.body_of(request_id)
    if bodies is None:
        return None
    encodings = _encodings(queries.locators_of(control.log, request_id))
    return {body.name: body_json(body) for body in readable(bodies, encodings)}


def _encodings(more: Mapping[str, Any]) -> Encodings:
    return Encodings(
        request=more["request_encoding"],
        response=more["response_encoding"],
        response_type=more["response_content_type"],
    )


def price_json(found: Details) -> dict[str, Any]:
    """The price arithmetic for JSON: it explains the stored cost, it does not replace it."""
    cost: Cost = found.priced.cost
    return {
        "cost_usd": found.row["cost_usd"],
        "source": found.row["cost_source"],
        "reason": found.row["cost_reason"],
        "price_id": found.row["price_id"],
        "usage_source": found.row["usage_source"],
        "lines": lines_of(cost),
        "note": found.price_note,
    }


def lines_of(cost: Cost) -> list[dict[str, Any]]:
    """The arithmetic line by line, amounts as text."""
    return [
        {
            "unit": line.unit,
            "tokens": line.tokens,
            "usd_per_mtok": money(line.usd_per_mtok),
            "usd": money(line.usd),
        }
        for line in cost.lines
    ]


def steps_of(control: ControlApp, found: Details) -> list[Step]:
    """The decisions behind an answer, in the order they were taken."""
    row = found.row
    steps = [_key_step(control, row), _capture_step(row)]
    if row["prompt_name"] is not None:
        by = f"by alias {row['prompt_alias']}" if row["prompt_alias"] else "by number"
        steps.append(Step(step="prompt", decision=f"{prompt_ref(row)}, {by}", detail=row["prompt_sha256"]))
    if row["kb_name"] is not None:
        steps.append(_knowledge_step(control, row))
    steps.append(_route_step(control, row))
    steps.extend(_attempt_steps(found))
    steps.append(_outcome_step(row))
    steps.append(_usage_step(found))
    steps.append(_price_step(found))
    return steps


def _knowledge_step(control: ControlApp, row: Mapping[str, Any]) -> Step:
    ref = f"{row['kb_name']}@{row['kb_version']}" if row["kb_version"] is not None else row["kb_name"]
    chunks = shown_chunks(control, row)
    if chunks is None:
        return Step(step="knowledge", decision=f"{ref}, not searched")
    lines = [
        f"[{chunk['id']}] "
        + (" › ".join(text for text in (chunk["source"], chunk["heading"]) if text) or "not readable")
        for chunk in chunks[:20]
    ]
    return Step(step="knowledge", decision=f"{ref}: {len(chunks)} chunks", detail="\n".join(lines) or None)


def _key_step(control: ControlApp, row: Mapping[str, Any]) -> Step:
    if row["key_id"] is None and row["status"] == 401 and row["outcome"] == "refused":
        return Step(step="key", decision=f"refused: {row['error_type']}", detail=row["error_message"])
    if row["key_id"] is None:
        return Step(step="key", decision=f"none given, none needed: project {row['project']}")
    name = control.keyring.name_of(row["key_id"])
    known = f'"{name}" ({row["key_id"]})' if name else row["key_id"]
    return Step(step="key", decision=f"{known}, project {row['project']}")


def _capture_step(row: Mapping[str, Any]) -> Step:
    words = {
        "full": "both bodies kept",
        "truncated": "bodies kept up to the capture limit",
        "metadata": "no bodies kept, as the log settings or the caller asked",
        "none": "no bodies and no content kept, as the log settings or the caller asked",
        "expired": "bodies kept at first, now past [log] body_days",
    }
    return Step(step="capture", decision=words.get(row["capture"], row["capture"] or "unknown"))


def _route_step(control: ControlApp, row: Mapping[str, Any]) -> Step:
    asked = row["model_requested"]
    if row["route"] is None:
        if asked is None:
            return Step(step="route", decision="no model in the request: the default upstream of its dialect")
        return Step(step="route", decision=f'no route for model "{asked}"')
    if row["prompt_version"] is not None and str(asked).startswith("prompt:"):
        asked = None  # the version's model was routed
    route = next((route for route in control.settings.routes if route.model == row["route"]), None)
    detail = None
    if route is None:
        detail = "The configuration has no such route any more."
    elif asked is not None:
        passed = [r.model for r in control.settings.routes[: control.settings.routes.index(route)]]
        targets = ", ".join(t.upstream + (f" as {t.model}" if t.model else "") for t in route.targets)
        is_first = not any(matches(glob, asked) for glob in passed)
        detail = f"Targets in order: {targets}." + ("" if is_first else " Today an earlier route would match.")
    what = f'model "{asked}"' if asked is not None else f"the model of {row['prompt_name']}@{row['prompt_version']}"
    return Step(step="route", decision=f'"{row["route"]}" is the first that matches {what}', detail=detail)


def _attempt_steps(found: Details) -> list[Step]:
    steps = []
    for attempt in found.attempts:
        result = attempt["error_type"] or (f"status {attempt['status']}" if attempt["status"] else "no answer")
        if attempt["error_type"] and attempt["status"]:
            result = f"status {attempt['status']} ({attempt['error_type']})"
        sent = f" as {attempt['model']}" if attempt["model"] else ""
        steps.append(
            Step(
                step=f"attempt {attempt['attempt']}",
                decision=f"{attempt['upstream']}{sent}: {result}",
                detail=f"after {duration(attempt['started_ms'])}, took {duration(attempt['latency_ms'])}",
            )
        )
    if found.row["fallback_from"]:
        decision = f"{found.row['fallback_from']} failed, {found.row['upstream']} answered"
        steps.append(Step(step="fallback", decision=decision))
    return steps


def _outcome_step(row: Mapping[str, Any]) -> Step:
    status = f", status {row['status']}" if row["status"] else ""
    detail = ": ".join(text for text in (row["error_type"], row["error_message"]) if text)
    return Step(step="outcome", decision=f"{row['outcome']}{status}", detail=detail or None)


def _usage_step(found: Details) -> Step:
    row = found.row
    words = {
        "provider": "counted by the upstream",
        "estimated": "estimated here, as the answer brought no complete usage",
        "none": "none known",
    }
    numbers = ""
    if row["input_tokens"] is not None or row["output_tokens"] is not None:
        numbers = f": {count(row['input_tokens'])} in, {count(row['output_tokens'])} out"
    detail = found.fold_note or (found.priced.usage.problem if row["usage_source"] == "none" else row["usage_raw"])
    return Step(step="usage", decision=words.get(row["usage_source"], "none known") + numbers, detail=detail)


def _price_step(found: Details) -> Step:
    row = found.row
    if row["cost_usd"] is None:
        word = "unpriced" if group_of(row["cost_reason"]) == "unpriced" else "none"
        return Step(step="price", decision=f"{word}: {row['cost_reason'] or 'no reason was noted'}")
    source = "a price of headgate.toml" if row["cost_source"] == "custom" else "the built-in price list"
    lines = [f"{line.tokens:,} {line.unit} × ${money(line.usd_per_mtok)}/M" for line in found.priced.cost.lines]
    return Step(
        step="price",
        decision=f"${money(row['cost_usd'])} by {source}" + (f" ({row['price_id']})" if row["price_id"] else ""),
        detail=" + ".join(lines) or found.price_note,
    )

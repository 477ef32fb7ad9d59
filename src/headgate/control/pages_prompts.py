"""The pages of prompts: all of them, and one with its versions, aliases, moves and what its versions cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headgate.control import queries
from headgate.control.access import Principal
from headgate.control.api_requests import chosen_filter
from headgate.control.filters import single_values
from headgate.control.html import page
from headgate.control.move_needs import Needs, needs_of, receipts_by_number
from headgate.control.pages import sample_model
from headgate.control.routes import ControlRoute
from headgate.control.state import ControlApp
from headgate.core.errors import HeadgateError
from headgate.core.ids import utc
from headgate.core.protection import PRODUCTION, rule_for
from headgate.core.routing import matches
from headgate.prompts.differences import Difference, differences
from headgate.prompts.model import decode_content
from headgate.registry import prompts, run_list
from headgate.registry.aliases import Move
from headgate.registry.prompts import Prompt, PromptVersion

_RANGES = (("24h", "last 24 hours"), ("7d", "last 7 days"), ("30d", "last 30 days"), ("all", "any time"))
_USUAL_RANGE = "7d"
_SHOWN_MOVES = 50
_SHOWN_VERSIONS = 100
_SHOWN_LINES = 1500


@dataclass(frozen=True, kw_only=True)
class ShownPrompt:
    """A prompt in the list."""

    name: str
    description: str
    production: int | None
    others: list[tuple[str, int]]
    latest: int | None
    model: str
    changed_at: datetime | None
    is_protected: bool


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two versions side by side."""

    before: int
    after: int
    changes: list[Difference]


async def prompts_page(control: ControlApp, request: Request, who: Principal) -> Response:
    """All prompts with what they were used for lately."""
    values = single_values(request.query_params.multi_items(), ["since"])
    found = await control.publisher.run(lambda: prompts.list_prompts(control.publisher.registry))
    usage, problem = await _usage(control, values, who, None)
    return page(
        control,
        "prompts.html",
        who,
        section="prompts",
        prompts=[_shown(control, prompt) for prompt in found],
        usage=usage,
        problem=problem,
        since=values.get("since", _USUAL_RANGE),
        ranges=_ranges(values),
        sample_model=sample_model(control),
    )


async def prompt_page(control: ControlApp, request: Request, who: Principal) -> Response:
    """One prompt: versions, what differs between two, aliases, moves, calls, cost and latency."""
    values = single_values(request.query_params.multi_items(), ["since", "version", "from", "to"])
    name, registry = request.path_params["name"], control.publisher.registry
    prompt = await control.publisher.run(lambda: prompts.get_prompt(registry, name))
    moves = await control.publisher.run(lambda: prompts.moves(registry, name, limit=_SHOWN_MOVES))
    rule = rule_for(control.settings, "prompt", name, PRODUCTION)
    current = prompt.current(is_protected=rule is not None)
    wanted = values.get("version") or (str(current[0]) if current else str(prompt.versions[0].number))
    shown = await control.publisher.run(lambda: prompts.get_version(registry, name, wanted))
    usage, problem = await _usage(control, values, who, name)
    needs: Needs | None = None
    try:
        needs = await control.read(needs_of, control, who, name, PRODUCTION, shown.number)
    except HeadgateError as error:  # a policy file that cannot be read must not take the page
        problem = problem or error.sentence
    return page(
        control,
        "prompt.html",
        who,
        section="prompts",
        prompt=prompt,
        current=current,
        rule=rule,
        by_number=_aliases_by_number(prompt),
        versions=prompt.versions[:_SHOWN_VERSIONS],
        version_count=len(prompt.versions),
        shown=shown,
        content=decode_content(shown.content_json),
        comparison=await _comparison(control, prompt, values, current),
        moves=moves,
        newest_moves=_newest_moves(moves),
        needs=needs,
        receipts=await control.read(receipts_by_number, registry, name),
        run_counts=await control.read(run_list.counts, registry, name),
        usage=usage,
        problem=problem,
        since=values.get("since", _USUAL_RANGE),
        ranges=_ranges(values),
        person=lambda key_id: control.keyring.name_of(key_id) or key_id,
        at=lambda at_us: utc(at_us).replace(tzinfo=None),
        most_lines=_SHOWN_LINES,
        may_override=who.may("approver") and _has_rule(control, name),
    )


def _shown(control: ControlApp, prompt: Prompt) -> ShownPrompt:
    is_protected = rule_for(control.settings, "prompt", prompt.name, PRODUCTION) is not None
    current = prompt.current(is_protected=is_protected)
    number = current[0] if current else prompt.versions[0].number
    version = prompt.version(number)
    return ShownPrompt(
        name=prompt.name,
        description=prompt.description,
        production=prompt.aliases.get(PRODUCTION),
        others=[(alias, meant) for alias, meant in prompt.aliases.items() if alias != PRODUCTION],
        latest=prompt.latest,
        model="" if version is None else version.model,
        changed_at=utc(prompt.versions[0].created_at_us).replace(tzinfo=None),
        is_protected=is_protected,
    )


async def _usage(
    control: ControlApp, values: Mapping[str, str], who: Principal, name: str | None
) -> tuple[dict[Any, queries.Row], str | None]:
    """Totals per prompt, or per version of one; a question that takes too long is said and left out."""
    since = values.get("since", _USUAL_RANGE)
    asked = {} if since == "all" else {"since": since}
    chosen = chosen_filter(control, asked, who, default_purpose="traffic")
    if name is not None:
        chosen.add("prompt_name = ?", name)
    try:
        return await control.read(
            queries.prompt_usage, control.log, chosen, "prompt_name" if name is None else "prompt_version"
        ), None
    except HeadgateError as error:
        return {}, error.sentence


async def _comparison(
    control: ControlApp, prompt: Prompt, values: Mapping[str, str], current: tuple[int, str] | None
) -> Comparison | None:
    """The two versions asked for; else what a bare name means against the newest, else the newest two."""
    numbers = [version.number for version in prompt.versions]
    if len(numbers) < 2 and not ("from" in values and "to" in values):
        return None
    before: int | str = current[0] if current and current[0] != numbers[0] else numbers[1] if len(numbers) > 1 else 0
    registry = control.publisher.registry
    sides = [values.get("from", before), values.get("to", numbers[0])]

    def read() -> list[PromptVersion]:
        return [prompts.get_version(registry, prompt.name, side) for side in sides]

    found = await control.publisher.run(read)
    contents = [msgspec.json.decode(version.content_json) for version in found]
    changes = await control.read(differences, contents[0], contents[1])
    return Comparison(before=found[0].number, after=found[1].number, changes=changes)


def _has_rule(control: ControlApp, name: str) -> bool:
    """Whether any alias of this prompt is protected."""
    return any(rule.kind == "prompt" and matches(rule.name, name) for rule in control.settings.protect)


def _ranges(values: Mapping[str, str]) -> Sequence[tuple[str, str]]:
    since = values.get("since", _USUAL_RANGE)
    return _RANGES if since in dict(_RANGES) else (*_RANGES, (since, f"since {since}"))


def _aliases_by_number(prompt: Prompt) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for alias, number in prompt.aliases.items():
        found.setdefault(number, []).append(alias)
    return found


def _newest_moves(moves: Sequence[Move]) -> dict[str, Move]:
    return {move.alias: move for move in reversed(moves)}


ROUTES: tuple[ControlRoute, ...] = (
    ControlRoute(
        method="GET", path="/ui/prompts", role="developer", handler=prompts_page, summary="Prompts", is_page=True
    ),
    ControlRoute(
        method="GET",
        path="/ui/prompts/{name:path}",
        role="developer",
        handler=prompt_page,
        summary="One prompt",
        is_page=True,
    ),
)

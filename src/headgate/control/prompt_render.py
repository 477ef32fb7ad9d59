"""What a call of a prompt would send: messages, body, tokens and price, without sending anything."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from headgate.control import kb_search
from headgate.control.rows import money
from headgate.control.state import ControlApp
from headgate.core.errors import HeadgateError, MalformedRequest, NotFound
from headgate.core.ids import now_us
from headgate.core.protection import PRODUCTION, rule_for
from headgate.core.routing import route_for
from headgate.core.settings import Settings, Target
from headgate.pricing.tokens import estimate
from headgate.prompts.model import PromptContent, decode_content
from headgate.prompts.reference import parse_reference
from headgate.prompts.request import body_for
from headgate.prompts.templates import compile_prompt
from headgate.registry import kbs, prompts
from headgate.registry.database import Database
from headgate.registry.prompts import PromptVersion
from headgate.retrieval.service import Search
from headgate.wire.transcript import input_text

ENDPOINTS = {"openai.chat": "openai", "openai.responses": "openai", "anthropic.messages": "anthropic"}
_LIMITS = ("max_output_tokens", "max_completion_tokens", "max_tokens")


def find(registry: Database, settings: Settings, text: str) -> tuple[PromptVersion, str | None]:
    """The version that ``name@7``, ``name@alias`` or ``name`` means, and by which alias; raises NotFound."""
    reference = parse_reference(text)
    if reference.number is not None:
        return prompts.get_version(registry, reference.name, reference.number), None
    alias = reference.alias
    if alias is None:
        is_protected = rule_for(settings, "prompt", reference.name, PRODUCTION) is not None
        current = prompts.get_prompt(registry, reference.name).current(is_protected=is_protected)
        alias = PRODUCTION if current is None else current[1]
    return prompts.get_version(registry, reference.name, alias), alias


async def found_knowledge(
    control: ControlApp, version: PromptVersion, variables: Mapping[str, Any], key: str | None
) -> list[dict[str, Any]]:
    """The chunks that a call would read; a routed embedder is called for it. Raises HeadgateError."""
    content = decode_content(version.content_json)
    if content.knowledge is None:
        return []
    reference = parse_reference(content.knowledge.kb)
    query = compile_prompt(content, f"prompt {version.name}@{version.number}").query(variables) or ""
    registry = control.publisher.registry
    kb = await control.publisher.run(lambda: kbs.get_kb(registry, reference.name).version(reference.number or 0))
    wanted = content.knowledge
    asked = Search(version=kb.sha256, query=query, top_k=wanted.top_k, filter=wanted.filter, min_score=wanted.min_score)
    try:
        found = await kb_search.search(control, kb, asked, key)
    except HeadgateError:
        if wanted.on_error == "fail":
            raise
        found = []
    return [msgspec.structs.asdict(chunk) for chunk in found]


def rendered(
    control: ControlApp,
    version: PromptVersion,
    variables: Mapping[str, Any],
    endpoint: str,
    knowledge: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Blocking: the rendered version for one endpoint, counted and priced; raises VariablesFault, MalformedRequest."""
    if endpoint not in ENDPOINTS:
        raise MalformedRequest(
            f'A prompt cannot be called at "{endpoint[:60]}".', hint=f"Endpoints: {', '.join(ENDPOINTS)}."
        )
    content = decode_content(version.content_json)
    messages = compile_prompt(content, f"prompt {version.name}@{version.number}").render(variables, knowledge)
    body = body_for(content, messages, endpoint, b"{}", from_model_name=False)
    target = _target(control.settings, content.model, ENDPOINTS[endpoint])
    model = target.model or content.model
    upstream = control.settings.upstreams[target.upstream]
    return {
        "name": version.name,
        "number": version.number,
        "sha256": version.sha256,
        "endpoint": endpoint,
        "model": model,
        "upstream": upstream.name,
        "messages": [{"role": message.role, "content": message.content} for message in messages],
        "body": msgspec.json.decode(body),
        **_price(control, upstream.provider, upstream.name, model, endpoint, body, _most_output(content)),
    }


def _target(settings: Settings, model: str, dialect: str) -> Target:
    route = route_for(settings, model)
    if route is None:
        raise NotFound(f'There is no route for model "{model[:200]}".', code="no_route")
    for target in route.targets:
        if settings.upstreams[target.upstream].speaks(dialect):
            return target
    raise MalformedRequest(
        f'No target of route "{route.model}" speaks {dialect}.', code="no_target", hint="Render for another endpoint."
    )


def _most_output(content: PromptContent) -> int | None:
    """The limit on output tokens that the version sets."""
    given = (content.parameters.get(name) for name in _LIMITS)
    return next((limit for limit in given if isinstance(limit, int)), None)


def _price(
    control: ControlApp,
    provider: str | None,
    upstream: str,
    model: str,
    endpoint: str,
    body: bytes,
    most_output: int | None,
) -> dict[str, Any]:
    """Input tokens and their price; with a limit on the output, the most that one call can cost."""
    counted = estimate(endpoint, model, input_text(endpoint, body), "")
    usages = {"input_usd": 0, **({} if most_output is None else {"most_usd": most_output})}
    price: dict[str, Any] = {"input_usd": None, "most_usd": None, "reason": None}
    for name, output_tokens in usages.items():
        cost = control.catalog.price(
            provider=provider,
            upstream=upstream,
            model=model,
            at_us=now_us(),
            endpoint=endpoint,
            usage=msgspec.structs.replace(counted, output_tokens=output_tokens),
        )
        price[name] = None if cost.cost_usd is None else money(cost.cost_usd)
        price["reason"] = price["reason"] or (cost.reason if cost.cost_usd is None else None)
    if most_output is None:
        price["reason"] = price["reason"] or "the prompt sets no limit on its output"
    return {"tokens": {"input": counted.input_tokens, "most_output": most_output, "is_estimate": True}, "price": price}

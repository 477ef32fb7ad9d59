"""Reads the token counts of an answer, whichever of the providers' shapes they come in."""

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

_RAW_LIMIT_CHARS = 65_536
_COUNT_LIMIT = 1_000_000_000  # no model takes a billion tokens; above, the number is not one
_NO_DETAIL: Mapping[str, int] = {}

UsageSource = Literal["provider", "estimated", "none"]


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What one request used. Unknown is None, never 0; every part is included in the total it belongs to."""

    source: UsageSource
    input_tokens: int | None = None  # all input, cached and cache-written included
    output_tokens: int | None = None  # all output, reasoning included
    cached_input_tokens: int | None = None
    cache_write_tokens: int | None = None  # all of them, whatever they live for
    cache_write_5m_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    reasoning_tokens: int | None = None
    detail: Mapping[str, int] = _NO_DETAIL  # audio, image, searches: by the keys of units.COUNTED
    service_tier: str | None = None  # as the usage names it (Anthropic)
    speed: str | None = None
    problem: str | None = None  # why no cost can be taken from it

    def counts(self) -> dict[str, int]:
        """What there is more than zero of, by the keys of `units.COUNTED`."""
        counts: dict[str, int] = {}
        if self.input_tokens:
            counts["input_tokens"] = self.input_tokens
        if self.output_tokens:
            counts["output_tokens"] = self.output_tokens
        if self.cached_input_tokens:
            counts["cache_read_tokens"] = self.cached_input_tokens
        if self.cache_write_tokens:
            counts["cache_write_tokens"] = self.cache_write_tokens
        if self.cache_write_5m_tokens:
            counts["cache_write_5m_tokens"] = self.cache_write_5m_tokens
        if self.cache_write_1h_tokens:
            counts["cache_write_1h_tokens"] = self.cache_write_1h_tokens
        if self.reasoning_tokens:
            counts["output_reasoning_tokens"] = self.reasoning_tokens
        if self.detail:
            counts.update(self.detail)
        return counts


NO_USAGE = Usage(source="none", problem="no usage in the answer")


class _Unusable(ValueError):
    """A usage object that cannot be counted with."""


def usage_from(endpoint: str, usage_raw: str | None) -> Usage:
    """The counts in ``usage_raw`` (JSON text as the provider sent it, stream pieces merged); never raises.

    The shape is told from the fields, as OpenAI-compatible servers answer in each other's; ``endpoint``
    decides only what the fields leave open. Unreadable counts give source ``none`` and a problem; counts
    that contradict each other are kept as reported, with a problem.
    """
    if not usage_raw or usage_raw == "null":
        return NO_USAGE
    try:
        if len(usage_raw) > _RAW_LIMIT_CHARS:
            raise _Unusable(f"{len(usage_raw)} characters long")
        fields = msgspec.json.decode(usage_raw)
        if not isinstance(fields, dict):
            raise _Unusable("not a JSON object")
        return _coherent(_read(endpoint, fields))
    except (_Unusable, msgspec.DecodeError, UnicodeError) as error:
        return Usage(source="none", problem=f"unusable usage in the answer: {error}")


def _read(endpoint: str, fields: dict[str, Any]) -> Usage:
    if "prompt_tokens" in fields or "completion_tokens" in fields:
        return _read_chat(endpoint, fields)
    if "input_tokens" in fields or "output_tokens" in fields:
        if endpoint == "anthropic.messages" or "cache_read_input_tokens" in fields or "cache_creation" in fields:
            return _read_messages(fields)
        return _read_responses(fields)
    raise _Unusable("it names no token counts")


def _read_chat(endpoint: str, fields: dict[str, Any]) -> Usage:
    inputs = _part(fields, "prompt_tokens_details")
    outputs = _part(fields, "completion_tokens_details")
    total = _count(fields, "total_tokens")
    input_tokens = _count(fields, "prompt_tokens")
    output_tokens = _count(fields, "completion_tokens")
    if output_tokens is None:
        output_tokens = _missing_output(endpoint, input_tokens, total)
    reasoning = _first(_count(outputs, "reasoning_tokens"), _count(fields, "reasoning_tokens"))
    citations = _count(fields, "citation_tokens")
    if output_tokens is not None:
        output_tokens += _output_counted_apart(input_tokens, output_tokens, reasoning, citations, total)
    cached = _first(
        _count(inputs, "cached_tokens"),
        _count(fields, "prompt_cache_hit_tokens"),  # DeepSeek's name for it (seen 2026-11)
        _count(fields, "cached_tokens"),  # Moonshot, and Anthropic's OpenAI surface (genai-prices 0.2.3)
    )
    detail = _detail(
        output_citation_tokens=citations,
        input_audio_tokens=_count(inputs, "audio_tokens"),
        output_audio_tokens=_count(outputs, "audio_tokens"),
        input_image_tokens=_count(inputs, "image_tokens"),
        output_image_tokens=_count(outputs, "image_tokens"),
        web_searches=_count(fields, "num_search_queries"),  # Perplexity
    )
    return Usage(
        source="provider",
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_input_tokens=cached,
        cache_write_tokens=_count(inputs, "cache_write_tokens"),
        reasoning_tokens=reasoning,
        detail=detail,
        service_tier=_word(fields, "service_tier"),
    )


def _missing_output(endpoint: str, input_tokens: int | None, total: int | None) -> int | None:
    if endpoint == "openai.embeddings":
        return 0  # an embedding has no output tokens: known, not unknown
    if total is not None and input_tokens is not None and total >= input_tokens:
        return total - input_tokens
    return None


def _output_counted_apart(
    input_tokens: int | None, output_tokens: int, reasoning: int | None, citations: int | None, total: int | None
) -> int:
    """The output tokens that ``completion_tokens`` leaves out."""
    if citations:
        return citations + (reasoning or 0)  # Perplexity's deep research (genai-prices 0.2.3)
    # xAI leaves reasoning out of completion_tokens; its total shows it.
    if reasoning and input_tokens is not None and total == input_tokens + output_tokens + reasoning:
        return reasoning
    return 0


def _read_responses(fields: dict[str, Any]) -> Usage:
    # On a realtime connection the names have no s, and cached sound is told apart (seen 2026-11).
    inputs = _part(fields, "input_tokens_details") or _part(fields, "input_token_details")
    outputs = _part(fields, "output_tokens_details") or _part(fields, "output_token_details")
    return Usage(
        source="provider",
        input_tokens=_count(fields, "input_tokens"),
        output_tokens=_count(fields, "output_tokens"),
        cached_input_tokens=_count(inputs, "cached_tokens"),
        cache_write_tokens=_count(inputs, "cache_write_tokens"),
        reasoning_tokens=_count(outputs, "reasoning_tokens"),
        detail=_detail(
            input_audio_tokens=_count(inputs, "audio_tokens"),
            output_audio_tokens=_count(outputs, "audio_tokens"),
            cache_audio_read_tokens=_count(_part(inputs, "cached_tokens_details"), "audio_tokens"),
            input_image_tokens=_count(inputs, "image_tokens"),
            output_image_tokens=_count(outputs, "image_tokens"),
        ),
        service_tier=_word(fields, "service_tier"),
    )


def _read_messages(fields: dict[str, Any]) -> Usage:
    creation = _part(fields, "cache_creation")
    uncached = _count(fields, "input_tokens")
    read = _count(fields, "cache_read_input_tokens")
    written_5m = _count(creation, "ephemeral_5m_input_tokens")
    written_1h = _count(creation, "ephemeral_1h_input_tokens")
    written = _count(fields, "cache_creation_input_tokens")
    if written is None and (written_5m is not None or written_1h is not None):
        written = (written_5m or 0) + (written_1h or 0)
    return Usage(
        source="provider",
        # Anthropic reports cached input apart from input_tokens (Messages API usage, seen 2026-08).
        input_tokens=None if uncached is None else uncached + (read or 0) + (written or 0),
        output_tokens=_count(fields, "output_tokens"),
        cached_input_tokens=read,
        cache_write_tokens=written,
        cache_write_5m_tokens=written_5m,
        cache_write_1h_tokens=written_1h,
        reasoning_tokens=_count(_part(fields, "output_tokens_details"), "thinking_tokens"),
        detail=_detail(web_searches=_count(_part(fields, "server_tool_use"), "web_search_requests")),
        service_tier=_word(fields, "service_tier"),
        speed=_word(fields, "speed"),
    )


def _coherent(usage: Usage) -> Usage:
    """``usage``, with a problem when its numbers contradict each other or say nothing."""
    problem = None
    total, cached, written = usage.input_tokens, usage.cached_input_tokens or 0, usage.cache_write_tokens or 0
    if total is None or usage.output_tokens is None:
        problem = f"the answer's usage names no {'input' if total is None else 'output'} tokens"
    elif cached + written > total:
        problem = f"unusable usage: {cached} cached and {written} cache-written tokens of {total} input tokens"
    elif total == 0 and usage.output_tokens == 0 and not usage.detail:
        problem = "the answer's usage counts no tokens at all"
    return usage if problem is None else msgspec.structs.replace(usage, problem=problem)


def _count(fields: Mapping[str, Any], key: str) -> int | None:
    value = fields.get(key)
    if value is None:
        return None
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int:
        raise _Unusable(f"{key} is no whole number")
    if not 0 <= value <= _COUNT_LIMIT:
        raise _Unusable(f"{key} is {'below 0' if value < 0 else 'above 1,000,000,000'}")
    return value


def _part(fields: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = fields.get(key)
    return value if isinstance(value, dict) else _NO_DETAIL


def _word(fields: Mapping[str, Any], key: str) -> str | None:
    value = fields.get(key)
    return value[:32] if isinstance(value, str) and value else None


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)


def _detail(**counts: int | None) -> Mapping[str, int]:
    found = {key: value for key, value in counts.items() if value}
    return found or _NO_DETAIL

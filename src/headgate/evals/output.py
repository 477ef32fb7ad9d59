"""What a model answered, as scorers see it: text and tool calls, with the figures that the log has about the call."""

from decimal import Decimal
from typing import Any

import msgspec

from headgate.evals.canonical import digest
from headgate.wire.decode import BodyDecoder
from headgate.wire.fold import fold_for
from headgate.wire.loose import load
from headgate.wire.parts import items, mapping
from headgate.wire.transcript import transcript

_PIECE = 1 << 16


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that the model asked for; ``arguments_json`` is what it sent, JSON or not."""

    name: str
    arguments_json: str = ""


class ReadChunk(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A chunk of a knowledge base that an answer was given; without ``source`` its version cannot be read now."""

    id: str
    source: str | None = None
    heading: str = ""
    text: str | None = None


class Output(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One answer. Figures are None where the log does not know them; ``has_error`` marks an error's text.
    ``kb`` and ``chunks`` are filled in where a scorer looks at what the answer read.
    """

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    refusal: str | None = None
    finish_reason: str | None = None
    latency_ms: float | None = None
    ttft_ms: float | None = None
    cost_usd: Decimal | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    request_id: str | None = None
    vectors: tuple[tuple[float, ...], ...] = ()
    kb: str | None = None  # `handbook@4`
    chunks: tuple[ReadChunk, ...] = ()  # best first

    @property
    def sha256(self) -> str:
        """The hash of what was said: text and tool calls, no figures."""
        return digest({"text": self.text, "tool_calls": [[one.name, one.arguments_json] for one in self.tool_calls]})


def output_of(
    endpoint: str, response: bytes, content_type: str | None, *, content_encoding: str | None = None, **known: Any
) -> Output:
    """The output of a logged response, whatever its dialect, streamed or not; never raises over its bytes.

    ``known`` are fields of `Output` that the log has (latency_ms, cost_usd, request_id …) and wins over the body.
    """
    body = _decoded(response, content_encoding)
    said = transcript(endpoint, b"", body, content_type).output
    first = [part for part in said if not (part.name or "").startswith("choice ")]
    refusals = [part.text for part in first if part.kind == "refusal"]
    found: dict[str, Any] = {
        "text": "".join(part.text for part in first if part.kind == "text"),
        "tool_calls": tuple(
            ToolCall(name=part.name or "", arguments_json=part.text) for part in first if part.kind == "tool_call"
        ),
        "refusal": "\n".join(refusals) if refusals else None,
        "finish_reason": _finish_reason(endpoint, body, content_type),
        "vectors": tuple(map(tuple, embedding_of(body))) if endpoint == "openai.embeddings" else (),
    }
    return Output(**{**found, **{name: value for name, value in known.items() if value is not None}})


def embedding_of(response: bytes) -> list[list[float]]:
    """The vectors of an embeddings answer in the order of its inputs; empty when it is none."""
    rows = [mapping(row) for row in items(mapping(load(response)).get("data"))]
    ordered = sorted(enumerate(rows), key=lambda pair: _index(pair[1], pair[0]))
    vectors = [_vector(row.get("embedding")) for _, row in ordered]
    return vectors if all(vectors) else []


def _index(row: dict[str, Any], otherwise: int) -> int:
    index = row.get("index")
    return index if isinstance(index, int) else otherwise


def _vector(value: Any) -> list[float]:
    numbers = items(value)
    plain = all(isinstance(one, int | float) and not isinstance(one, bool) for one in numbers)
    return [float(one) for one in numbers] if plain else []


def _decoded(response: bytes, encoding: str | None) -> bytes:
    return BodyDecoder(encoding).feed(response) if encoding else response


def _finish_reason(endpoint: str, body: bytes, content_type: str | None) -> str | None:
    fold = fold_for(endpoint, content_type or "application/json")
    for at in range(0, len(body), _PIECE):
        fold.feed(body[at : at + _PIECE])
    return fold.finish().finish_reason

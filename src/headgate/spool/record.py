"""What one request leaves in the spool: a small start record before the upstream is called, a final one at the end.

Both are msgpack maps that leave out empty fields, so a field can be added at any time with a default.
"""

from typing import Literal

import msgspec

Outcome = Literal["ok", "refused", "upstream_error", "upstream_aborted", "timeout", "client_closed", "interrupted"]
Capture = Literal["full", "metadata", "none", "truncated"]


class Attempt(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One try at one upstream."""

    upstream: str
    model: str | None = None
    status: int | None = None
    error_type: str | None = None
    started_us: int = 0  # after the request's start
    latency_us: int = 0


class Identity(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What is known of a request before the upstream is called."""

    request_id: str
    started_at_us: int
    sequence: int  # counts the start records of one spool, from 1; 0 on a final record that needed no start
    purpose: str = "traffic"
    trace_id: str | None = None
    session_id: str | None = None
    user_id: str | None = None
    project: str = "default"
    key_id: str | None = None
    client: str | None = None
    endpoint: str = "other"
    method: str = "POST"
    path: str = ""
    stream: bool = False
    model_requested: str | None = None
    provider: str | None = None
    upstream: str | None = None
    route: str | None = None
    prompt_name: str | None = None
    prompt_version: int | None = None
    prompt_alias: str | None = None
    prompt_sha256: str | None = None
    prompt_vars: str | None = None  # JSON text
    kb_name: str | None = None
    kb_version: int | None = None
    kb_chunks: list[str] | None = None
    arm: str | None = None
    tags: dict[str, str] | None = None


class TensorRecord(msgspec.Struct, array_like=True):
    """One tensor as it went to or came from a model: code of its datatype, shape, raw bytes."""

    code: int
    shape: tuple[int, ...]
    data: bytes


class Prediction(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a classic model was asked and answered; the tensors stand in the order of the version's signature."""

    model: str
    version: int
    rows: int
    alias: str | None = None
    entities: list[str | None] | None = None
    inputs: list[TensorRecord] | None = None  # None: content that is not kept, or too large to be
    outputs: list[TensorRecord] = []


class StartRecord(Identity, kw_only=True, omit_defaults=True):
    """Written before the upstream is called; without a final record it becomes a row with outcome `interrupted`."""


class FinalRecord(Identity, kw_only=True, omit_defaults=True):
    """Written before the last byte of the answer is released. Unknown is None, never 0."""

    model: str | None = None  # as the answer names it, else as sent
    upstream_request_id: str | None = None
    response_id: str | None = None
    service_tier: str | None = None
    status: int | None = None
    outcome: Outcome = "ok"
    error_type: str | None = None
    error_message: str | None = None
    finish_reason: str | None = None
    attempts: list[Attempt] = []
    fallback_from: str | None = None
    usage_raw: str | None = None  # JSON text as received; stream pieces merged by the dialect's rule
    output_chars: int | None = None  # of the answer's text, for an estimate when no usage came and bodies are not kept
    prompt_chars: int | None = None
    latency_us: int = 0
    ttft_us: int | None = None
    overhead_us: int | None = None
    upstream_us: int | None = None
    request_bytes: int = 0
    response_bytes: int = 0
    capture: Capture = "full"
    request_encoding: str | None = None  # content-encoding of the captured bytes
    request_content_type: str | None = None
    response_encoding: str | None = None
    response_content_type: str | None = None
    fold_note: str | None = None  # why the answer could not be read in full
    prediction: Prediction | None = None

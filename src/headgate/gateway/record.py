"""Closing a request: everything known of it becomes one record in the spool. Never raises into the reply."""

import logging
from typing import TYPE_CHECKING

from headgate.core.ids import monotonic_ns
from headgate.gateway.copies import Copy
from headgate.spool.record import Capture, FinalRecord, Outcome
from headgate.wire.decode import BodyDecoder
from headgate.wire.objects import OBJECT_ENDPOINTS, is_id

if TYPE_CHECKING:
    from headgate.gateway.relay import Relay
    from headgate.gateway.tee import Tee

_logger = logging.getLogger("headgate.gateway")
_MESSAGE_LIMIT = 2000
_REMOVED = b"[removed by headgate]"


def write(
    relay: "Relay",
    outcome: Outcome,
    error_type: str | None = None,
    error_message: str | None = None,
    own_body: bytes = b"",
) -> None:
    """Append the final record of ``relay``; ``own_body``: the answer, where it was ours."""
    relay.is_recorded = True
    relay.worker.count(outcome)
    try:
        final, request, sent, response = _final(relay, outcome, error_type, error_message, own_body)
        relay.worker.spool.append_final(final, request, sent, response)  # what has no room is counted and logged there
    except (
        Exception
    ):  # border: request. A record that cannot be made must not cost the answer; it is counted as missing.
        _logger.exception("request %s is not in the log", relay.asked.request_id)


def _final(
    relay: "Relay", outcome: Outcome, error_type: str | None, error_message: str | None, own_body: bytes
) -> tuple[FinalRecord, bytes, bytes, list[bytes]]:
    asked, tee, answer = relay.asked, relay.tee, relay.response_head
    final = FinalRecord(**asked.identity)
    _add_times(relay, final)
    final.outcome = outcome
    final.status = relay.status
    attempts = final.attempts = relay.attempts.made if relay.attempts is not None else []
    if len(attempts) > 1 and attempts[0].upstream != attempts[-1].upstream:
        final.fallback_from = attempts[0].upstream
    final.request_bytes = relay.body_bytes
    final.response_bytes = len(own_body)
    if relay.handle is not None:
        final.upstream = relay.handle.upstream.name
        final.provider = relay.handle.upstream.provider
        final.model = attempts[-1].model if attempts else None
    if answer is not None:
        final.upstream_request_id = answer.upstream_request_id
        final.response_content_type = answer.media_type
        final.response_encoding = answer.encoding
    if tee is not None:
        final.response_bytes = tee.copy.byte_count
        if tee.is_sse:
            final.stream = True
            if tee.first_byte_ns:
                final.ttft_us = (tee.first_byte_ns - relay.started_ns) // 1000
        folded = tee.folded()
        final.model = folded.model or final.model
        final.response_id = folded.response_id
        if folded.response_id is not None and relay.worker.has_several(relay.place.endpoint.dialect):
            _note_owner(relay, folded.response_id)
        final.service_tier = folded.service_tier
        final.finish_reason = folded.finish_reason
        final.usage_raw = folded.usage_raw
        final.output_chars = folded.output_chars
        final.fold_note = tee.note
        error_type = error_type or folded.error_type
        error_message = error_message or folded.error_message
    final.error_type = error_type
    if error_message is not None and asked.capture == "full":
        final.error_message = clean_text(relay, error_message)
    return (final, *_bodies(relay, final, own_body))


def _note_owner(relay: "Relay", object_id: str) -> None:
    is_object = relay.place.endpoint.name in OBJECT_ENDPOINTS and is_id(object_id)
    if is_object and relay.handle is not None and relay.status is not None and 200 <= relay.status < 300:
        relay.worker.owners().note(object_id, relay.handle.upstream.name)


def _add_times(relay: "Relay", final: FinalRecord) -> None:
    ended_ns = relay.last_byte_ns or monotonic_ns()
    final.latency_us = (ended_ns - relay.started_ns) // 1000
    if relay.upstream_started_ns:
        final.upstream_us = (ended_ns - relay.upstream_started_ns) // 1000
        final.overhead_us = max(0, final.latency_us - final.upstream_us)


def _bodies(relay: "Relay", final: FinalRecord, own_body: bytes) -> tuple[bytes, bytes, list[bytes]]:
    capture: Capture = "full"
    if relay.asked.capture != "full" or relay.principal is None:  # strangers do not fill the disk
        final.capture = "none" if relay.asked.capture == "none" else "metadata"
        if final.usage_raw is None:
            final.prompt_chars = relay.body_bytes
        return b"", b"", []
    limit = relay.worker.capture_bytes
    callers = relay.head.secrets
    # What is coded hides a secret from those who look for it here, not from those who read it in the log.
    is_undone = relay.raw is not None and any(secret in relay.body for secret in callers)
    request, cut = _request(relay, limit, is_undone=is_undone)
    sent = relay.sent.body if relay.sent is not None and relay.sent.is_changed else b""
    notes = [cut, relay.tee.copy.note("answer") if relay.tee is not None else None]
    if len(sent) > limit or any(notes):
        capture = "truncated"
        sent = sent[:limit]
        final.fold_note = "; ".join(note for note in (final.fold_note, *notes) if note) or None
    final.capture = capture
    final.request_content_type = relay.head.text(b"content-type")
    final.request_encoding = None if is_undone else relay.head.text(b"content-encoding")
    joined = own_body if own_body or relay.tee is None else _answer(relay.tee, final, limit)
    for secret in callers:
        if secret in request:
            request = request.replace(secret, _REMOVED)
        if secret in sent:
            sent = sent.replace(secret, _REMOVED)
    for secret in _secrets(relay):  # a stored one cannot be in what the caller sent
        if secret in joined:
            joined = joined.replace(secret, _REMOVED)
    return request, sent, [joined]


def _answer(tee: "Tee", final: FinalRecord, limit: int) -> bytes:
    """What is kept of an answer: as it came, or without its coding where that hides a secret."""
    pieces = tee.copy.pieces
    joined = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    if not tee.has_secret:
        return joined
    plain = BodyDecoder(final.response_encoding).feed(joined)
    final.response_encoding = None
    if len(plain) > limit:
        final.capture = "truncated"
        cut = f"answer: {limit} of {len(plain)} decoded bytes kept"
        final.fold_note = cut if final.fold_note is None else f"{final.fold_note}; {cut}"
    return plain[:limit]


def _request(relay: "Relay", limit: int, *, is_undone: bool) -> tuple[bytes, str | None]:
    """What is kept of the request's body, and what is missing."""
    if relay.upload is not None:
        return relay.upload.captured(limit)
    body = relay.body if relay.raw is None or is_undone else relay.raw
    if len(body) <= limit:
        return body, None
    copy = Copy(relay.worker.copies, limit)
    copy.add(body)
    return body[:limit], copy.note("request")


def _secrets(relay: "Relay") -> tuple[bytes, ...]:
    """The credentials of this very request, and the key that was sent upstream for it; they must not reach the disk."""
    callers = relay.head.secrets
    return callers if relay.handle is None else callers + relay.handle.secrets


def clean_text(relay: "Relay", text: str) -> str:
    """A message for the log, without the secrets of its request."""
    text = text[:_MESSAGE_LIMIT]
    for secret in _secrets(relay):
        text = text.replace(secret.decode("latin-1"), _REMOVED.decode())
    return text


def without_secrets(relay: "Relay", data: bytes) -> bytes:
    """``data`` of either side, for the log."""
    for secret in _secrets(relay):
        data = data.replace(secret, _REMOVED)
    return data

"""Our own errors in the caller's dialect, so that its SDK raises what it would raise for the provider's."""

from typing import Literal

import msgspec

from headgate.core.errors import HeadgateError
from headgate.wire.loose import clean

_MAX_MESSAGE_CHARS = 2000
_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def error_message(error: HeadgateError) -> str:
    """What users read: begins with ``headgate: ``, ends with the hint."""
    what = str(error).removeprefix("headgate: ")
    if len(what) > _MAX_MESSAGE_CHARS:
        what = what[:_MAX_MESSAGE_CHARS] + "…"
    return clean(f"headgate: {what} {error.hint}".strip())


def error_body(error: HeadgateError, dialect: Literal["openai", "anthropic", "inference"], request_id: str) -> bytes:
    """The JSON body of an error answer.

    OpenAI: ``type`` is always ``headgate_error``, so that users can tell whose error it is. Anthropic: ``type`` is the
    standard one of the status, since clients act on it. ``code`` is ours in both. Open Inference: the message alone.
    """
    message = error_message(error)
    if dialect == "inference":
        return msgspec.json.encode({"error": message})
    if dialect == "anthropic":
        kind = _ANTHROPIC_TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")
        inner = {"type": kind, "message": message, "code": error.code}
        return msgspec.json.encode({"type": "error", "error": inner, "request_id": request_id})
    fields = {"message": message, "type": "headgate_error", "param": None, "code": error.code, "request_id": request_id}
    return msgspec.json.encode({"error": fields})

"""Choosing how an answer is read: by the content type it came with.

Never by the request: some servers stream unasked, and all answer a streaming request with whole JSON when it fails.
"""

from functools import lru_cache

from headgate.wire.fold_anthropic import MessagesStreamFold
from headgate.wire.fold_json import JsonFold
from headgate.wire.fold_openai import ChatStreamFold, ResponsesStreamFold
from headgate.wire.folded import Fold, Folded, NullFold

__all__ = ["Fold", "Folded", "fold_for"]


def fold_for(endpoint: str, content_type: str) -> Fold:
    """The reader for an answer of ``content_type`` on ``endpoint`` (a name of `headgate.wire.endpoints`).

    Feed it decoded bytes (`headgate.wire.decode`); it never raises.
    """
    media_type = _media_type(content_type)
    if media_type == "text/event-stream":
        if endpoint == "anthropic.messages":
            return MessagesStreamFold()
        if endpoint == "openai.responses":
            return ResponsesStreamFold()
        return ChatStreamFold(has_end=endpoint in ("openai.chat", "openai.completions"))
    if media_type == "application/json" or media_type.endswith("+json"):
        return JsonFold(endpoint)
    return NullFold()


@lru_cache(256)
def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()

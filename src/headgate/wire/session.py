"""What a client said on a realtime connection before a response, as the request it would have been without one."""

from typing import Any

from headgate.wire.parts import items, mapping

_TRANSCRIBED = "conversation.item.input_audio_transcription.completed"


def session_request(events: Any) -> dict[str, Any]:
    """A Responses request (`instructions`, `input`, `tools` and what else was set) of a list of client events, among
    them what the server heard the client say. Never raises.
    """
    request: dict[str, Any] = {}
    said: list[Any] = []
    for event in items(events):
        event = mapping(event)
        kind = event.get("type")
        if kind == "session.update":
            request.update(mapping(event.get("session")))
        elif kind == "response.create":
            response = mapping(event.get("response"))
            said += items(response.get("input"))
            request.update(response)
        elif kind == "conversation.item.create":
            said.append(event.get("item"))
        elif kind == _TRANSCRIBED and isinstance(event.get("transcript"), str):
            said.append({"role": "user", "content": event["transcript"]})
    request.pop("type", None)
    return {**request, "input": said} if request or said else {}

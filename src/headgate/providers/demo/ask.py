"""What every dialect is read into (an `Ask`) and what the demo model answers (a `Reply`)."""

import json
from dataclasses import dataclass
from typing import Any, Literal

Json = dict[str, Any]


class AskError(Exception):
    """A request the demo model refuses, shaped in the caller's dialect: status, provider error type and code."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.kind, self.param, self.code = status, kind, param, code
        self.headers = headers or {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One message of the conversation, as text; images are described, tool results are text."""

    role: Literal["system", "user", "assistant", "tool"]
    text: str
    images: tuple[str, ...] = ()
    tool_name: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Tool:
    """A function the caller offers; ``schema`` is the JSON Schema of its arguments."""

    name: str
    schema: Json
    description: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """A request in neutral words. ``seed`` is the digest that every derived id, delay and choice comes from."""

    model: str
    turns: tuple[Turn, ...]
    seed: bytes
    tools: tuple[Tool, ...] = ()
    tool_choice: Literal["auto", "none", "required"] = "auto"
    tool_named: str | None = None
    parallel_calls: bool = True
    form: Literal["text", "json", "schema"] = "text"
    schema: Json | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    temperature: float | None = None
    thinks: bool = False

    @property
    def last(self) -> Turn | None:
        """The newest message."""
        return self.turns[-1] if self.turns else None

    @property
    def last_user_text(self) -> str:
        """The text of the newest user message, or nothing."""
        return next((turn.text for turn in reversed(self.turns) if turn.role == "user"), "")


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """A tool call with its arguments as JSON text."""

    name: str
    arguments: str

    @property
    def arguments_object(self) -> Json:
        """The arguments parsed."""
        parsed: Json = json.loads(self.arguments)
        return parsed


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """One answer. ``output_tokens`` counts text, thinking and calls."""

    text: str
    calls: tuple[Call, ...] = ()
    thinking: str = ""
    finish: Literal["stop", "length", "tool_calls", "stop_sequence"] = "stop"
    stop_sequence: str | None = None
    output_tokens: int = 0
    thinking_tokens: int = 0

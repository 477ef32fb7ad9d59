"""A version's fields as each dialect writes them: plain renames of the OpenAI chat shape, nothing invented."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from headgate.prompts.faults import PromptConflict
from headgate.prompts.model import PromptContent, RenderedMessage

DialectName = Literal["openai.chat", "openai.responses", "anthropic.messages"]
LIMIT = "max_output_tokens"
_INSTRUCTING = ("system", "developer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """What differs between the three ways to ask for a message."""

    name: DialectName
    messages: str  # the field that holds them
    limit: str  # how it writes max_output_tokens
    limit_names: tuple[str, ...]  # what a caller may call it
    must_send_limit: bool  # its SDK does not send a request without one


DIALECTS: dict[str, Dialect] = {
    "openai.chat": Dialect(
        name="openai.chat",
        messages="messages",
        limit="max_completion_tokens",
        limit_names=("max_completion_tokens", "max_tokens"),
        must_send_limit=False,
    ),
    "openai.responses": Dialect(
        name="openai.responses",
        messages="input",
        limit="max_output_tokens",
        limit_names=("max_output_tokens",),
        must_send_limit=False,
    ),
    "anthropic.messages": Dialect(
        name="anthropic.messages",
        messages="messages",
        limit="max_tokens",
        limit_names=("max_tokens",),
        must_send_limit=True,
    ),
}


def fields_of(content: PromptContent, dialect: Dialect) -> dict[str, Any]:
    """Everything that a version says in a dialect, but for model and messages."""
    fields = {
        dialect.limit if name == LIMIT else name: _tool_choice(value, dialect) if name == "tool_choice" else value
        for name, value in content.parameters.items()
    }
    if content.tools:
        fields["tools"] = [_tool(tool, dialect) for tool in content.tools]
    if content.response_format is not None:
        _add_format(fields, content.response_format, dialect)
    return fields


def messages_of(rendered: Sequence[RenderedMessage], dialect: Dialect) -> tuple[dict[str, str], list[RenderedMessage]]:
    """The field that instructs (`system`, `instructions`; none in chat), and the messages that remain.

    Anthropic takes system text apart from the turns, so all of it goes to `system`; on Responses only what stands
    before the first turn is `instructions`.
    """
    if dialect.name == "openai.chat":
        return {}, list(rendered)
    if dialect.name == "anthropic.messages":
        texts = [message.content for message in rendered if message.role in _INSTRUCTING]
        turns = [message for message in rendered if message.role not in _INSTRUCTING]
        return ({"system": "\n\n".join(texts)} if texts else {}), turns
    turn = next((place for place, message in enumerate(rendered) if message.role not in _INSTRUCTING), len(rendered))
    texts = [message.content for message in rendered[:turn]]
    return ({"instructions": "\n\n".join(texts)} if texts else {}), list(rendered[turn:])


def _tool(tool: dict[str, Any], dialect: Dialect) -> dict[str, Any]:
    function = tool.get("function")
    if dialect.name == "openai.chat" or tool.get("type") != "function" or not isinstance(function, dict):
        return tool
    beside = {key: value for key, value in tool.items() if key not in ("type", "function")}
    if dialect.name == "openai.responses":
        return {"type": "function", **function, **beside}
    renamed = {"input_schema" if key == "parameters" else key: value for key, value in function.items()}
    return {**renamed, "input_schema": renamed.get("input_schema", {"type": "object"}), **beside}


_ANTHROPIC_CHOICES = {"auto": "auto", "required": "any", "none": "none"}


def _tool_choice(choice: Any, dialect: Dialect) -> Any:
    named = choice.get("function", {}).get("name") if _is_named_choice(choice) else None
    if dialect.name == "openai.responses" and named is not None:
        return {"type": "function", "name": named}
    if dialect.name == "anthropic.messages" and named is not None:
        return {"type": "tool", "name": named}
    if dialect.name == "anthropic.messages" and isinstance(choice, str):
        return {"type": _ANTHROPIC_CHOICES.get(choice, choice)}
    return choice


def _is_named_choice(choice: Any) -> bool:
    return isinstance(choice, dict) and choice.get("type") == "function" and isinstance(choice.get("function"), dict)


def _add_format(fields: dict[str, Any], wanted: Mapping[str, Any], dialect: Dialect) -> None:
    kind, described = wanted.get("type"), wanted.get("json_schema")
    if dialect.name == "openai.chat":
        fields["response_format"] = wanted
    elif dialect.name == "openai.responses":
        flat = {"type": kind, **described} if kind == "json_schema" and isinstance(described, dict) else dict(wanted)
        fields["text"] = {**_mapping(fields.get("text")), "format": flat}
    elif kind == "json_schema" and isinstance(described, dict) and "schema" in described:
        # Anthropic's structured output has a schema and no name (Messages API, seen 2026-11).
        form = {"type": "json_schema", "schema": described["schema"]}
        fields["output_config"] = {**_mapping(fields.get("output_config")), "format": form}
    elif kind != "text":
        raise PromptConflict(
            f"This prompt asks for response_format {kind!r}, which the Anthropic Messages API has no field for.",
            hint="Call it on chat completions or Responses, or give it a json_schema.",
        )


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}

"""Reads and writes `prompts/<name>.yaml`: every fault with its line and column, and back without loss."""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from headgate.core.settings_file import nearest
from headgate.prompts import yaml_text
from headgate.prompts.checks import ContentFault, check_content
from headgate.prompts.faults import PromptFault, quoted
from headgate.prompts.model import Knowledge, PromptContent, PromptMessage, normal
from headgate.prompts.reference import NAME

MAX_FILE_BYTES = 2 << 20
MAX_DESCRIPTION_CHARS = 1000
MOST_SUITES = 50
_TOP_KEYS = (
    "name", "description", "model", "parameters", "overridable", "input",
    "knowledge", "messages", "tools", "response_format", "suites",
)  # fmt: skip
_KNOWLEDGE_KEYS = ("kb", "query", "top_k", "on_error", "filter", "min_score")
_MESSAGE_KEYS = ("role", "content")


@dataclass(frozen=True, kw_only=True)
class PromptFile:
    """A prompt as its file has it: the content that becomes a version, and what stays outside of it."""

    name: str
    description: str = ""
    suites: tuple[str, ...] = ()
    content: PromptContent
    warnings: tuple[str, ...] = field(default=(), compare=False)


def parse_prompt_file(text: str, file: str) -> PromptFile:
    """The prompt in ``text``; PromptFault lists all faults as `file:line:column what`. ``file`` is for their texts."""
    return _Reading(text, file).prompt()


def dump_prompt_file(prompt: PromptFile) -> str:
    """The file of a prompt: parsing it again gives the same content, hence the same version."""
    content = prompt.content
    knowledge = None if content.knowledge is None else _without_defaults(content.knowledge)
    data: dict[str, Any] = {
        "name": prompt.name,
        "description": prompt.description,
        "model": content.model,
        "parameters": content.parameters,
        "overridable": list(content.overridable),
        "input": content.input,
        "knowledge": knowledge,
        "messages": [msgspec.structs.asdict(message) for message in content.messages],
        "tools": list(content.tools),
        "response_format": content.response_format,
        "suites": list(prompt.suites),
    }
    return yaml_text.write({key: value for key, value in data.items() if value})


class _Reading:
    def __init__(self, text: str, file: str) -> None:
        self._file = file
        self._faults: list[tuple[int, int, str]] = []
        if len(text) > MAX_FILE_BYTES:
            raise PromptFault([f"{file}:1:1 a prompt file has at most 2 MB"])
        self._document = yaml_text.read(text)
        for place, what in self._document.faults:
            self._faults.append((place.line, place.column, what))

    def prompt(self) -> PromptFile:
        """The prompt, or PromptFault."""
        data = self._document.data
        if not isinstance(data, dict):
            if not self._faults:
                self._fault((), "a prompt file is a mapping with name, model and messages")
            raise self._refusal()
        self._check_keys((), data, _TOP_KEYS, required=("name", "model", "messages"))
        found = PromptFile(
            name=self._name(data),
            description=self._text(data, "description", ""),
            suites=self._texts(data, "suites"),
            content=self._content(data),
        )
        if len(found.description) > MAX_DESCRIPTION_CHARS:
            self._fault(("description",), f"a description has at most {MAX_DESCRIPTION_CHARS:,} characters")
        if len(found.suites) > MOST_SUITES:
            self._fault(("suites",), f"a prompt names at most {MOST_SUITES} suites")
        report = check_content(found.content)
        for fault in report.faults:
            self._content_fault(fault)
        if self._faults:
            raise self._refusal()
        warnings = tuple(f"{self._where(warning.path)} {warning.text}" for warning in report.warnings)
        return PromptFile(**{**vars(found), "warnings": warnings})

    # Faults

    def _fault(self, path: yaml_text.Path, what: str) -> None:
        place = self._document.place(path)
        self._faults.append((place.line, place.column, what))

    def _where(self, path: yaml_text.Path) -> str:
        place = self._document.place(path)
        return f"{self._file}:{place.line}:{place.column}"

    def _content_fault(self, fault: ContentFault) -> None:
        """Adds a fault of the content, unless its place has one already (a wrong type left a hole there)."""
        place = self._document.place(fault.path)
        if fault.line and place.text_line is not None:
            self._faults.append((place.text_line + fault.line - 1, place.column if fault.line == 1 else 1, fault.text))
        elif fault.line > 1:
            self._faults.append((place.line, place.column, f"{fault.text} (line {fault.line} of this text)"))
        elif not any(line == place.line and column == place.column for line, column, _ in self._faults):
            self._faults.append((place.line, place.column, fault.text))

    def _refusal(self) -> PromptFault:
        faults = sorted(set(self._faults))
        return PromptFault([f"{self._file}:{line}:{column} {what}" for line, column, what in faults])

    def _check_keys(
        self, path: yaml_text.Path, data: dict[str, Any], known: tuple[str, ...], required: tuple[str, ...]
    ) -> None:
        for key in data:
            if key not in known:
                close = nearest(key, list(known))
                meant = f"; did you mean {close}?" if close else f"; known: {', '.join(known)}"
                self._fault((*path, key, "\0key"), f"unknown key {quoted(key)}{meant}")
        for key in required:
            if data.get(key) is None:
                self._fault(path, f"{key} is missing")

    # Values

    def _typed(self, path: yaml_text.Path, value: Any, kind: type, wanted: str, default: Any) -> Any:
        if value is None:
            return default
        if type(value) is kind:
            return value
        self._fault(path, f"{path[-1] if isinstance(path[-1], str) else 'an entry'} is {wanted}, not {_shown(value)}")
        return default

    def _text(self, data: dict[str, Any], key: str, default: str, path: yaml_text.Path = ()) -> str:
        text: str = self._typed((*path, key), data.get(key), str, "text", default)
        return text

    def _mapping(self, data: dict[str, Any], key: str) -> dict[str, Any]:
        found: dict[str, Any] = self._typed((key,), data.get(key), dict, "a mapping", {})
        return found

    def _list(self, data: dict[str, Any], key: str) -> list[Any]:
        found: list[Any] = self._typed((key,), data.get(key), list, "a list", [])
        return found

    def _each(self, data: dict[str, Any], key: str, kind: type, wanted: str) -> list[Any]:
        values = [
            self._typed((key, index), item, kind, wanted, None) for index, item in enumerate(self._list(data, key))
        ]
        return [value for value in values if value is not None]

    def _texts(self, data: dict[str, Any], key: str) -> tuple[str, ...]:
        return tuple(self._each(data, key, str, "text"))

    def _name(self, data: dict[str, Any]) -> str:
        name = self._text(data, "name", "")
        if name and not NAME.fullmatch(name):
            what = "is not a prompt's name: small letters, digits and . _ / - after the first character"
            self._fault(("name",), f"{quoted(name)} {what}")
        return name

    def _content(self, data: dict[str, Any]) -> PromptContent:
        return normal(
            PromptContent(
                model=self._text(data, "model", ""),
                parameters=self._mapping(data, "parameters"),
                overridable=self._texts(data, "overridable"),
                input=self._mapping(data, "input"),
                knowledge=self._knowledge(data),
                messages=self._messages(data),
                tools=tuple(self._each(data, "tools", dict, "a mapping")),
                response_format=self._mapping(data, "response_format") or None,
            )
        )

    def _knowledge(self, data: dict[str, Any]) -> Knowledge | None:
        found = self._mapping(data, "knowledge")
        if not found:
            return None
        path: yaml_text.Path = ("knowledge",)
        self._check_keys(path, found, _KNOWLEDGE_KEYS, required=("kb", "query"))
        on_error = self._text(found, "on_error", "fail", path)
        if on_error not in ("fail", "empty"):
            self._fault((*path, "on_error"), f"on_error is fail or empty, not {quoted(on_error)}")
        return Knowledge(
            kb=self._text(found, "kb", "", path),
            query=self._text(found, "query", "", path),
            top_k=self._typed((*path, "top_k"), found.get("top_k"), int, "a whole number", 4),
            on_error="empty" if on_error == "empty" else "fail",
            filter=self._typed((*path, "filter"), found.get("filter"), dict, "a mapping of fields to values", {}),
            min_score=self._number((*path, "min_score"), found.get("min_score")),
        )

    def _number(self, path: yaml_text.Path, value: Any) -> float | None:
        return float(value) if type(value) is int else self._typed(path, value, float, "a number", None)

    def _messages(self, data: dict[str, Any]) -> tuple[PromptMessage, ...]:
        found = []
        for index, item in enumerate(self._list(data, "messages")):
            path: yaml_text.Path = ("messages", index)
            message = item if isinstance(item, dict) else {}
            if message is not item:
                self._fault(path, f"a message is a mapping of role and content, not {_shown(item)}")
            else:
                self._check_keys(path, message, _MESSAGE_KEYS, required=_MESSAGE_KEYS)
            role = self._text(message, "role", "user", path)
            found.append(PromptMessage(role=role, content=self._text(message, "content", "", path)))
        return tuple(found)


def _without_defaults(knowledge: Knowledge) -> dict[str, Any]:
    """As people write it: the first four keys, and what else is set."""
    fields = msgspec.structs.asdict(knowledge)
    return {key: value for key, value in fields.items() if key in _KNOWLEDGE_KEYS[:4] or value not in ({}, None)}


_NAMES: dict[type, str] = {str: "text", bool: "true or false", int: "a number", float: "a number", dict: "a mapping"}


def _shown(value: Any) -> str:
    return "nothing" if value is None else _NAMES.get(type(value), "a list")

"""Prompt files as a push brings them: read, checked against this server's settings, all faults told at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from headgate.control.kb_pins import pinned
from headgate.core.errors import NotFound
from headgate.core.routing import nearest_route_names, route_for
from headgate.core.settings import Settings
from headgate.prompts import yaml_text
from headgate.prompts.differences import differences
from headgate.prompts.faults import PromptFault, quoted
from headgate.prompts.files import PromptFile, parse_prompt_file
from headgate.prompts.model import canonical, content_sha256
from headgate.registry import prompts
from headgate.registry.database import Database
from headgate.registry.kbs import Kb
from headgate.registry.prompts import Pushed, PushedPrompt


@dataclass(frozen=True, kw_only=True)
class CheckedFile:
    """A file without faults, and what is odd about it."""

    pushed: PushedPrompt
    warnings: tuple[str, ...]


def checked_files(
    files: Sequence[tuple[str, str]], settings: Settings, known_kbs: Mapping[str, Kb]
) -> list[CheckedFile]:
    """The prompts in ``files`` (pairs of a file's name and its text), their knowledge pinned to the version that its
    reference means now; raises PromptFault with every fault of all.
    """
    faults: list[str] = []
    checked: list[CheckedFile] = []
    for file, text in files:
        try:
            found = parse_prompt_file(text, file)
        except PromptFault as error:
            faults += error.faults
            continue
        unknown = _unknown_names(found, file, text, settings)
        try:
            content = pinned(found.content, known_kbs, settings)
        except NotFound as error:
            place = yaml_text.read(text).place(("knowledge", "kb"))
            unknown.append(f"{file}:{place.line}:{place.column} {error}")
        faults += unknown
        if not unknown:
            checked.append(_checked(replace(found, content=content)))
    if faults:
        raise PromptFault(faults)
    return checked


def changes(registry: Database, pushed: Pushed, checked: CheckedFile) -> list[str]:
    """The fields in which a new version differs from the one before it."""
    if not pushed.is_new or pushed.previous_number is None:
        return []
    before = prompts.get_version(registry, pushed.name, pushed.previous_number)
    sides = (msgspec.json.decode(text) for text in (before.content_json, checked.pushed.content_json))
    return [f"{difference.field} {difference.kind}" for difference in differences(*sides)]


def _checked(found: PromptFile) -> CheckedFile:
    pushed = PushedPrompt(
        name=found.name,
        description=found.description,
        suites=tuple(found.suites),
        content_json=canonical(found.content).decode(),
        sha256=content_sha256(found.content),
    )
    return CheckedFile(pushed=pushed, warnings=tuple(found.warnings))


def _unknown_names(found: PromptFile, file: str, text: str, settings: Settings) -> list[str]:
    """What the file names and this server does not know, by line."""
    faults = []

    def where(key: str, *inner: str) -> str:
        place = yaml_text.read(text).place((key, *inner))
        return f"{file}:{place.line}:{place.column}"

    model = found.content.model
    if route_for(settings, model) is None:
        routes = ", ".join(route.model for route in settings.routes) or "none"
        near = nearest_route_names(settings, model)
        nearest = f" Nearest: {', '.join(near)}." if near else ""
        faults.append(f"{where('model')} no route for model {quoted(model)}. Routes: {routes}.{nearest}")
    return faults

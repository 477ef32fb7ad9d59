"""Prompts and the versions of knowledge bases they are pinned to: at push, and when a knowledge base moves on."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from headgate.core.errors import NotFound
from headgate.core.protection import LATEST, PRODUCTION, rule_for
from headgate.core.settings import Settings
from headgate.prompts.model import PromptContent, canonical, content_sha256, decode_content
from headgate.prompts.reference import parse_reference
from headgate.registry import kbs, prompts
from headgate.registry.aliases import Wish
from headgate.registry.database import Database
from headgate.registry.kbs import Kb
from headgate.registry.prompts import Prompt, PromptVersion, PushedPrompt
from headgate.snapshot import no_kb

CANDIDATE = "candidate"


@dataclass(frozen=True, kw_only=True)
class Pin:
    """A prompt version that callers get, and the version of a knowledge base it reads."""

    prompt: str
    number: int
    alias: str
    kb_number: int


@dataclass(frozen=True, kw_only=True)
class Repinned:
    """The version made of a prompt for another version of its knowledge base."""

    prompt: str
    before: int
    number: int
    is_new: bool
    candidate: bool  # whether `candidate` means it now


def kbs_by_name(registry: Database) -> dict[str, Kb]:
    """Blocking: all knowledge bases."""
    return {kb.name: kb for kb in kbs.list_kbs(registry)}


def pinned(content: PromptContent, known: Mapping[str, Kb], settings: Settings) -> PromptContent:
    """The content with its knowledge base at the version that the reference means now; raises NotFound."""
    if content.knowledge is None:
        return content
    reference = parse_reference(content.knowledge.kb)
    kb = known.get(reference.name)
    if kb is None:
        raise no_kb(reference.name, known)
    ref: int | str | None = reference.number or reference.alias
    if ref is None:
        current = kb.current(is_protected=rule_for(settings, "kb", kb.name, PRODUCTION) is not None)
        if current is None:
            raise NotFound(
                f"{kb.name} has no production yet, which its bare name means. Write kb: {kb.name}@latest",
                code="kb_alias_missing",
            )
        ref = current[0]
    return with_pin(content, kb.version(ref).ref)


def with_pin(content: PromptContent, ref: str) -> PromptContent:
    """The content that reads from the version ``ref``."""
    assert content.knowledge is not None
    return msgspec.structs.replace(content, knowledge=msgspec.structs.replace(content.knowledge, kb=ref))


def pins_of(registry: Database, settings: Settings, kb_name: str) -> list[Pin]:
    """Blocking: the prompts that read from a knowledge base, by what their bare name means (else the newest)."""
    found = []
    for prompt in prompts.list_prompts(registry):
        current = _current(prompt, settings)
        if current is None and prompt.latest is not None:
            current = (prompt.latest, LATEST)
        found.append(_pin(registry, prompt, current, kb_name))
    return [pin for pin in found if pin is not None]


def pins_at(registry: Database, settings: Settings, kb_name: str, alias: str) -> list[Pin]:
    """Blocking: the prompts that read from a knowledge base by what an alias means; for production also those whose
    bare name means the newest version.
    """
    found = []
    for prompt in prompts.list_prompts(registry):
        stands = prompt.aliases.get(alias)
        current = None if stands is None else (stands, alias)
        if alias == PRODUCTION:
            current = _current(prompt, settings)
        found.append(_pin(registry, prompt, current, kb_name))
    return [pin for pin in found if pin is not None]


def _current(prompt: Prompt, settings: Settings) -> tuple[int, str] | None:
    is_protected = rule_for(settings, "prompt", prompt.name, PRODUCTION) is not None
    return prompt.current(is_protected=is_protected)


def _pin(registry: Database, prompt: Prompt, current: tuple[int, str] | None, kb_name: str) -> Pin | None:
    if current is None:
        return None
    knowledge = decode_content(prompts.get_version(registry, prompt.name, current[0]).content_json).knowledge
    if knowledge is None:
        return None
    reference = parse_reference(knowledge.kb)
    if reference.name != kb_name or reference.number is None:
        return None
    return Pin(prompt=prompt.name, number=current[0], alias=current[1], kb_number=reference.number)


def repin(
    registry: Database, settings: Settings, kb_name: str, ref: int | str, names: "set[str] | None", wish: Wish
) -> list[Repinned]:
    """Blocking: makes the next versions of prompts (None: all that read from it) at another version of a knowledge
    base, and points `candidate` to them where no rule protects that; raises NotFound.
    """
    target = kbs.get_kb(registry, kb_name).version(ref)
    pins = [pin for pin in pins_of(registry, settings, kb_name) if names is None or pin.prompt in names]
    done = []
    for pin in pins:
        if pin.kb_number == target.number:
            continue
        version = prompts.get_version(registry, pin.prompt, pin.number)
        done.append(_repin_one(registry, settings, version, target.ref, wish))
    return done


def _repin_one(registry: Database, settings: Settings, version: PromptVersion, ref: str, wish: Wish) -> Repinned:
    content = with_pin(decode_content(version.content_json), ref)
    prompt = prompts.get_prompt(registry, version.name)
    pushed = PushedPrompt(
        name=version.name,
        description=prompt.description,
        suites=version.suites,
        content_json=canonical(content).decode(),
        sha256=content_sha256(content),
    )
    message = f"Version {version.number}, reading {ref}."
    (made,) = prompts.push(registry, [pushed], who=wish.who, message=wish.reason or message)
    rule = rule_for(settings, "prompt", version.name, CANDIDATE)
    if rule is None and not made.is_archived:
        prompts.move_alias(registry, version.name, CANDIDATE, made.number, wish, None)
    return Repinned(
        prompt=version.name,
        before=version.number,
        number=made.number,
        is_new=made.is_new,
        candidate=rule is None and not made.is_archived,
    )

"""Which version of a knowledge base the calls of a run read: the one that its prompt is pinned to, or another one that
the run names.
"""

import re
from dataclasses import dataclass

from headgate.core.errors import MalformedRequest, NotFound
from headgate.core.protection import PRODUCTION, rule_for
from headgate.core.settings import Settings
from headgate.prompts.model import decode_content
from headgate.prompts.reference import parse_reference
from headgate.registry import kbs, prompts
from headgate.registry.database import Database
from headgate.registry.prompts import PromptVersion
from headgate.registry.runs import Run
from headgate.store.lookup import LoggedCall

Read = tuple[str | None, int | None]
"""Name and number of what a call read, as the log has them; two None: it read no knowledge base."""
NOTHING: Read = (None, None)
_UNKNOWN = "unknown"
_WHICH = re.compile(r"[1-9][0-9]{0,8}|[a-z][a-z0-9._-]{0,63}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class KbRead:
    """A version of a knowledge base as a run reads it."""

    name: str
    number: int
    sha256: str

    @property
    def ref(self) -> str:
        """`handbook@4`."""
        return f"{self.name}@{self.number}"


def pin_of(version: PromptVersion) -> Read:
    """What the calls of a prompt version read by themselves."""
    knowledge = decode_content(version.content_json).knowledge
    if knowledge is None:
        return NOTHING
    reference = parse_reference(knowledge.kb)
    return reference.name, reference.number


def check_reads(version: PromptVersion, kb: str | None) -> None:
    """Raises MalformedRequest when a suite is about another knowledge base than the prompt reads from."""
    name, _ = pin_of(version)
    if kb is not None and name != kb:
        raise MalformedRequest(
            f"The suite is about {kb}; {version.name}@{version.number} reads from {name or 'no knowledge base'}.",
            code="kb_conflict",
            hint="Change target.kb in the suite, or name a version that reads from it.",
        )


def read_instead(registry: Database, settings: Settings, version: PromptVersion, wanted: str | None) -> KbRead | None:
    """What a run reads instead of the pin of its prompt: `handbook@4`, or a number or alias of the prompt's own
    knowledge base. None when nothing is wanted, or the pinned version itself. Raises NotFound, MalformedRequest.
    """
    if wanted is None:
        return None
    ref, (name, number) = f"{version.name}@{version.number}", pin_of(version)
    if name is None:
        raise MalformedRequest(
            f"{ref} reads from no knowledge base.", code="kb_conflict", hint="Leave the knowledge base out."
        )
    is_part = wanted != name and "@" not in wanted and _WHICH.fullmatch(wanted)
    reference = parse_reference(f"{name}@{wanted}" if is_part else wanted)
    if reference.name != name:
        raise MalformedRequest(
            f"{ref} reads from {name}, not from {reference.name}.", code="kb_conflict", hint=f"Name {name}@NUMBER."
        )
    kb = kbs.get_kb(registry, name)
    which: int | str | None = reference.number or reference.alias
    if which is None:
        current = kb.current(is_protected=rule_for(settings, "kb", name, PRODUCTION) is not None)
        which = PRODUCTION if current is None else current[0]
    found = kb.version(which)
    return None if found.number == number else KbRead(name=name, number=found.number, sha256=found.sha256)


def reads_of(registry: Database, run: Run) -> KbRead | None:
    """What the calls of a run must have read; None: no knowledge base. Raises NotFound when it is not there."""
    assert run.prompt is not None and run.number is not None
    if run.kb is not None:
        reference = parse_reference(run.kb)
        name, number = reference.name, reference.number
    else:
        pinned, number = pin_of(prompts.get_version(registry, run.prompt, run.number))
        if pinned is None:
            return None
        name = pinned
    found = kbs.get_kb(registry, name).version(number or 0)
    if run.kb_sha256 is not None and found.sha256 != run.kb_sha256:
        raise NotFound(f"{run.kb} is another version now than {run.id} was begun with.", code="kb_version_missing")
    return KbRead(name=name, number=found.number, sha256=found.sha256)


def judge_reads(registry: Database, run: Run) -> dict[str, Read]:
    """What the calls of each judge must have read, by the judge's reference."""
    refs = {str(judge["ref"]) for judge in run.judges.values()}
    return {ref: _pin_of_ref(registry, ref) for ref in refs}


def _pin_of_ref(registry: Database, ref: str) -> Read:
    reference = parse_reference(ref)
    return pin_of(prompts.get_version(registry, reference.name, reference.number or 0))


class KeyKnowledge:
    """What a logged call adds to the key of its cell: None when it read what its prompt is pinned to, else the hash of
    what it read instead. Each version is looked up once.
    """

    def __init__(self, registry: Database) -> None:
        self._registry = registry
        self._pins: dict[tuple[str, int], Read] = {}
        self._hashes: dict[tuple[str, int], str] = {}

    def __call__(self, call: LoggedCall) -> str | None:
        """A hash that no key has where something is not known."""
        if call.prompt_name is None or call.prompt_version is None:
            return None if call.kb_name is None else _UNKNOWN
        if (call.kb_name, call.kb_version) == self._pin(call.prompt_name, call.prompt_version):
            return None
        if call.kb_name is None or call.kb_version is None:
            return _UNKNOWN
        return self._hash(call.kb_name, call.kb_version)

    def _pin(self, name: str, number: int) -> Read:
        if (name, number) not in self._pins:
            try:
                self._pins[name, number] = pin_of(prompts.get_version(self._registry, name, number))
            except NotFound:
                self._pins[name, number] = NOTHING
        return self._pins[name, number]

    def _hash(self, name: str, number: int) -> str:
        if (name, number) not in self._hashes:
            try:
                self._hashes[name, number] = kbs.get_kb(self._registry, name).version(number).sha256
            except NotFound:
                self._hashes[name, number] = _UNKNOWN
        return self._hashes[name, number]

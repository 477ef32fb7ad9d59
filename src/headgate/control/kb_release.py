"""A version of a knowledge base released together with the prompts that read from it: what would move, what evidence it
lacks, and all of it moved in one transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from headgate.control import kb_pins
from headgate.control.kb_pins import Pin
from headgate.control.policies import guard_for
from headgate.core.settings import Settings
from headgate.prompts.model import canonical, content_sha256, decode_content
from headgate.registry import kbs, prompts, suites
from headgate.registry.aliases import Move, Wish
from headgate.registry.database import Database
from headgate.registry.grounds import Evidence
from headgate.registry.kbs import KbVersion
from headgate.registry.prompts import PushedPrompt
from headgate.registry.targets import Guard, Kind


@dataclass(frozen=True, kw_only=True)
class Step:
    """One object of a release. ``number`` None: the version is not made yet; ``alias`` None: no alias moves, callers of
    the bare name get the newest version.
    """

    kind: Kind
    name: str
    before: int | None
    number: int | None
    alias: str | None
    suites: tuple[str, ...]  # whose receipts it takes, or could take
    guard: Guard | None = None
    evidence: Evidence | None = None  # None: nothing asks for any, or there is no version yet
    pushed: PushedPrompt | None = None

    @property
    def ref(self) -> str | None:
        """`name@number`, once there is a number."""
        return None if self.number is None else f"{self.name}@{self.number}"


def steps_of(registry: Database, settings: Settings, name: str, ref: int | str, alias: str) -> list[Step]:
    """Blocking: what making a version what ``alias`` means comes to, the prompts first; raises NotFound."""
    kb = kbs.get_kb(registry, name)
    version = kb.version(ref)
    steps = [
        _prompt_step(registry, settings, pin, version)
        for pin in kb_pins.pins_at(registry, settings, name, alias)
        if pin.kb_number != version.number
    ]
    if kb.aliases.get(alias) == version.number:
        return steps
    guard = guard_for(settings, "kb", name, alias)
    evidence = None if guard is None else kbs.evidence(registry, name, alias, version.number, guard)
    known = () if guard is None else guard.suites
    own = Step(
        kind="kb",
        name=name,
        before=kb.aliases.get(alias),
        number=version.number,
        alias=alias,
        suites=known or _suites_of(registry, name, is_kb=True),
        guard=guard,
        evidence=evidence,
    )
    return [*steps, own]


def suites_to_run(step: Step, evidence: Evidence) -> tuple[str, ...]:
    """The suites whose gates would bring the receipts that a step lacks; empty also where no suite is known."""
    lacking = [suite if suite is not None else next(iter(step.suites), None) for suite in evidence.lacking]
    return tuple(suite for suite in lacking if suite is not None)


def prepare(registry: Database, settings: Settings, steps: Sequence[Step], wish: Wish) -> None:
    """Blocking: makes the next versions of the prompts that need evidence, as candidates; callers see none of them."""
    missing = [step.pushed for step in steps if step.guard is not None and step.pushed is not None]
    if not missing:
        return
    for made in prompts.push(registry, missing, who=wish.who, message=wish.reason):
        if guard_for(settings, "prompt", made.name, kb_pins.CANDIDATE) is None and not made.is_archived:
            prompts.move_alias(registry, made.name, kb_pins.CANDIDATE, made.number, wish, None)


def release(registry: Database, steps: Sequence[Step], wish: Wish) -> list[Move]:
    """Blocking: makes what is missing and moves every alias, all or nothing; raises Forbidden (`move_refused`)."""
    moves: list[Move | None] = []
    with registry.write() as connection:
        for step in steps:
            number = step.number
            if step.pushed is not None:
                (made,) = prompts.push_in(connection, [step.pushed], who=wish.who, message=wish.reason)
                number = made.number
            if step.alias is None or number is None:
                continue
            move_in = kbs.move_in if step.kind == "kb" else prompts.move_in
            moves.append(move_in(connection, step.name, step.alias, number, wish, step.guard))
    return [move for move in moves if move is not None]


def _prompt_step(registry: Database, settings: Settings, pin: Pin, version: KbVersion) -> Step:
    alias = None if pin.alias == "latest" else pin.alias
    base = prompts.get_version(registry, pin.prompt, pin.number)
    content = kb_pins.with_pin(decode_content(base.content_json), version.ref)
    digest, prompt = content_sha256(content), prompts.get_prompt(registry, pin.prompt)
    known = next((one for one in prompt.versions if one.sha256 == digest), None)
    guard = None if alias is None else guard_for(settings, "prompt", pin.prompt, alias)
    evidence = None
    if known is not None and guard is not None and alias is not None:
        evidence = prompts.evidence(registry, pin.prompt, alias, known.number, guard)
    wanted = tuple(dict.fromkeys([*(guard.suites if guard is not None else ()), *base.suites]))
    pushed = PushedPrompt(
        name=pin.prompt,
        description=prompt.description,
        suites=base.suites,
        content_json=canonical(content).decode(),
        sha256=digest,
    )
    return Step(
        kind="prompt",
        name=pin.prompt,
        before=pin.number,
        number=None if known is None else known.number,
        alias=alias,
        suites=wanted or _suites_of(registry, pin.prompt),
        guard=guard,
        evidence=evidence,
        pushed=pushed if known is None else None,
    )


def _suites_of(registry: Database, name: str, *, is_kb: bool = False) -> tuple[str, ...]:
    with registry.read() as connection:
        found = suites.of_kb(connection, name) if is_kb else suites.of_prompt(connection, name)
    return () if found is None else (found,)

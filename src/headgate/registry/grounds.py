"""On what a move of a protected alias rests: fresh receipts for exactly this content, approvals, or an override."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from headgate.core.errors import Forbidden
from headgate.core.ids import now_us, utc
from headgate.core.protection import PRODUCTION
from headgate.core.served_models import CHAMPION
from headgate.registry import approvals, receipts, runs, suites
from headgate.registry.receipts import Receipt
from headgate.registry.targets import Gate, Guard, Target, Wish
from headgate.snapshot import ROLES

Stands = tuple[int, str] | None
"""The number and the content hash that an alias means now; None: nothing yet."""


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What lets a move through."""

    gate: Gate
    policy: str | None = None
    receipts: tuple[str, ...] = ()
    approved_by: tuple[str, ...] = ()
    weaker: tuple[str, ...] = ()  # than what the alias rested on before


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What there is for a move: the receipts that count, and what is missing in sentences with a hint each."""

    receipts: tuple[str, ...] = ()
    approved_by: tuple[str, ...] = ()
    missing: tuple[tuple[str, str], ...] = ()
    weaker: tuple[str, ...] = ()  # than what the alias rests on
    lacking: tuple[str | None, ...] = ()  # suites of which there is no receipt that counts; None: any suite's


def ground_of_move(
    connection: sqlite3.Connection, target: Target, alias: str, wish: Wish, guard: Guard | None, stands: Stands
) -> Ground:
    """On what a move may rest; raises Forbidden (code ``move_refused``) when it rests on nothing."""
    if guard is None:
        return Ground(gate="ungated")
    found = evidence_for(connection, target, alias, guard, stands, mover=wish)
    if not found.missing:
        return Ground(
            gate="receipt",
            policy=guard.policy,
            receipts=found.receipts,
            approved_by=found.approved_by,
            weaker=found.weaker,
        )
    what, hint = found.missing[0]
    message = f"Refused: {target.name}@{target.number} may not become {alias}. {guard.words} {what}"
    ground = _overridden(wish, guard, (message, hint), target.pushed_by)
    # What there was stays with the move: the next one is held against it.
    return replace(ground, receipts=found.receipts, weaker=found.weaker)


def ground_of_removal(name: str, alias: str, wish: Wish, guard: Guard | None) -> Ground:
    """On what the end of an alias rests; raises Forbidden when a rule covers it and nobody overrides."""
    if guard is None:
        return Ground(gate="ungated")
    message = f"Refused: {name}@{alias} may not be removed. {guard.words} covers it."
    hint = "An approver may override it with a reason; to change what it means, move it."
    return _overridden(wish, guard, (message, hint), None)


def evidence_for(
    connection: sqlite3.Connection,
    target: Target,
    alias: str,
    guard: Guard,
    stands: Stands,
    *,
    mover: Wish | None = None,
) -> Evidence:
    """What there is for ``target`` becoming ``alias``, and what is missing."""
    found = _Found(connection, target, alias, guard, stands)
    for suite in dict.fromkeys([*guard.suites, *target.suites]) or (None,):
        found.ask_for(suite)
    if guard.keeps_yardstick:
        found.ask_for_what_stands()
    agreed = approvals.approvers(connection, target, alias)
    is_second = mover is not None and _is_second_person(mover, target)
    if mover is not None and is_second:
        agreed = sorted({*agreed, mover.who})
    if len(agreed) < guard.approvers:
        found.missing.append(_approvals_missing(target, alias, guard, len(agreed)))
    if found.weaker and guard.keeps_yardstick and not is_second:
        newest = max((one.issued_at_us for one in found.counted), default=0)
        # A yes that is older than the evidence was said of other evidence.
        if not approvals.approvers(connection, target, alias, newest):
            found.missing.append(_weaker_missing(target, alias, found.weaker))
    return Evidence(
        receipts=tuple(dict.fromkeys(one.id for one in found.counted)),
        approved_by=tuple(agreed),
        missing=tuple(found.missing),
        weaker=tuple(found.weaker),
        lacking=tuple(found.lacking),
    )


class _Found:
    """Receipts that count for a move, suite by suite, what is missing, and what is weaker than what stands."""

    def __init__(
        self, connection: sqlite3.Connection, target: Target, alias: str, guard: Guard, stands: Stands
    ) -> None:
        self._connection, self._target, self._alias, self._guard, self._stands = (
            connection, target, alias, guard, stands,
        )  # fmt: skip
        self._before = {one.suite: one for one in receipts.standing(connection, target.kind, target.name, alias)}
        held = receipts.of_object(connection, target.kind, target.name)
        self._held = sorted(held, key=lambda one: one.suite not in self._before)  # stable: newest first within each
        self.counted: list[Receipt] = []
        self.missing: list[tuple[str, str]] = []
        self.weaker: list[str] = []
        self.lacking: list[str | None] = []

    def ask_for(self, suite: str | None) -> None:
        """A receipt of a suite (None: of any) must be there."""
        fits, fault = _best(self._held, self._target, self._guard, self._stands, suite, self._alias)
        if fits is None:
            hint = _hint(self._connection, self._target, self._alias, suite, self._stands, self._held)
            self.missing.append((_sentence(self._target, suite, fault), hint))
            self.lacking.append(suite)
        else:
            self._count(fits)

    def ask_for_what_stands(self) -> None:
        """The suites that the alias rests on: leaving one out is the plainest way to ask for less."""
        for suite in sorted(self._before.keys() - {one.suite for one in self.counted}):
            fits, fault = _best(self._held, self._target, self._guard, self._stands, suite, self._alias)
            if fits is None:
                self.weaker.append(f"suite {suite}, which {self._alias} rests on, was not passed: {fault}")
            else:
                self._count(fits)

    def _count(self, receipt: Receipt) -> None:
        self.counted.append(receipt)
        self.weaker += [f"suite {receipt.suite}: {what}" for what in _weaker(receipt, self._before.get(receipt.suite))]


def _weaker(receipt: Receipt, before: Receipt | None) -> tuple[str, ...]:
    """What the evidence lacks beside that which the alias rests on."""
    if before is None or receipt.id == before.id:
        return ()
    is_same = (receipt.suite_sha256, receipt.dataset_sha256) == (before.suite_sha256, before.dataset_sha256)
    if receipt.since != before.id and not is_same:
        return (f"{receipt.id} was never held against {before.id}, gate it again",)
    return receipt.weaker


def _weaker_missing(target: Target, alias: str, weaker: Sequence[str]) -> tuple[str, str]:
    to = "" if alias == PRODUCTION else f" --to {alias}"
    return (
        f"asks for evidence no weaker than what {alias} rests on, or for someone other than the author to approve it; "
        f"{'; '.join(weaker[:5])}.",
        "Put back what is gone and gate it again; or someone else approves: headgate "
        f'{target.kind} approve {target.name}@{target.number}{to} --reason "…"',
    )


def _is_second_person(mover: Wish, target: Target) -> bool:
    is_approver = ROLES.index(mover.role) >= ROLES.index("approver")
    return is_approver and mover.who not in ("local", target.pushed_by)


def _best(
    held: Sequence[Receipt], target: Target, guard: Guard, stands: Stands, suite: str | None, alias: str
) -> tuple[Receipt | None, str]:
    """The receipt that counts, or what is wrong with the one that comes nearest."""
    nearest, fewest = "none exists", 99
    for receipt in held:
        faults = _faults(receipt, target, guard, stands, suite, alias)
        if not faults:
            return receipt, ""
        if len(faults) < fewest:
            nearest, fewest = f"{receipt.id} {faults[0]}", len(faults)
    return None, nearest


def _faults(receipt: Receipt, target: Target, guard: Guard, stands: Stands, suite: str | None, alias: str) -> list[str]:
    found = []
    if receipt.sha256 != target.sha256:
        found.append(f"is for other content, {receipt.sha256[:4]}… ({receipt.object}@{receipt.number})")
    if suite is not None and receipt.suite != suite:
        found.append(f"is of another suite, {receipt.suite}")
    if receipt.policy_sha256 != guard.policy_sha256:
        same_name = receipt.policy == guard.policy
        which = f"an earlier text of {receipt.policy}" if same_name else receipt.policy
        found.append(f"was given under another policy, {which}")
    now = None if stands is None else stands[1]
    if receipt.baseline_sha256 != now:
        found.append(_baseline_fault(receipt, stands, alias))
    if receipt.is_expired(now_us()):
        assert receipt.expires_at_us is not None
        found.append(f"expired on {utc(receipt.expires_at_us):%Y-%m-%d %H:%M} UTC")
    return found


def _baseline_fault(receipt: Receipt, stands: Stands, alias: str) -> str:
    compared = "with nothing" if receipt.baseline_sha256 is None else f"with content {receipt.baseline_sha256[:4]}…"
    meant = "means nothing yet" if stands is None else f"means version {stands[0]} ({stands[1][:4]}…) now"
    return f"compared {compared}, and {alias} {meant}"


def _sentence(target: Target, suite: str | None, fault: str) -> str:
    what = "dataset" if target.kind == "model" else "suite"
    of = "" if suite is None else f" of {what} {suite}"
    return f"asks for a passing receipt{of} for content {target.sha256[:4]}…; {fault}."


def _hint(
    connection: sqlite3.Connection,
    target: Target,
    alias: str,
    suite: str | None,
    stands: Stands,
    held: Sequence[Receipt],
) -> str:
    """The command that would bring the evidence, with what it takes where a run of the suite tells."""
    name = suite or next((receipt.suite for receipt in held), None)
    if target.kind == "model":
        against = "" if stands is None else f" --against {alias}"
        return f"Run: headgate model test {target.name}@{target.number} --dataset {name or 'labelled.jsonl'}{against}"
    is_kb = target.kind == "kb"
    name = name or (suites.of_kb if is_kb else suites.of_prompt)(connection, target.name)
    if name is None:
        prompt = "PROMPT" if is_kb else target.name
        whose = f" for a prompt that reads from {target.name}" if is_kb else ""
        return f"Write a suite{whose} and run its gate: headgate eval init {prompt} --from-log 25"
    against = "" if stands is None else f" --against {alias}"
    totals = runs.last_totals(connection, name)
    what = "--kb" if is_kb else "--prompt"
    return f"Run: headgate eval gate {name} {what} {target.name}@{target.number}{against}{_price(totals)}"


def _price(totals: object) -> str:
    """What a run took the last time, as far as it is known."""
    if not isinstance(totals, dict):
        return ""
    calls = totals.get("cells", 0) + totals.get("asks", 0)
    cost = totals.get("full_cost_usd")
    return f" ({calls} calls)" if cost is None else f" ({calls} calls, about ${Decimal(cost):.2f})"


def _approvals_missing(target: Target, alias: str, guard: Guard, there: int) -> tuple[str, str]:
    people = "approval" if guard.approvers == 1 else "approvals"
    usual, option = (CHAMPION, "--to") if target.kind == "model" else (PRODUCTION, "--alias")
    to = "" if alias == usual else f" {option} {alias}"
    return (
        f"asks for {guard.approvers} {people} by someone other than the author; there "
        f"{'is none' if there == 0 else f'is {there}' if there == 1 else f'are {there}'}.",
        f'Someone else approves: headgate {target.kind} approve {target.name}@{target.number}{to} --reason "…"',
    )


def _overridden(wish: Wish, guard: Guard, refusal: tuple[str, str], pushed_by: str | None) -> Ground:
    """An override, when it is asked for and may be given; else Forbidden."""
    message, hint = refusal
    if not wish.override:
        raise Forbidden(message, code="move_refused", hint=hint)
    if ROLES.index(wish.role) < ROLES.index("approver"):
        raise Forbidden(
            f"{message} The role {wish.role} may not override that.",
            code="move_refused",
            hint="Ask someone with the role approver.",
        )
    if not (wish.reason or "").strip():
        raise Forbidden(
            f"{message} An override needs a reason.", code="move_refused", hint='Say why: --override --reason "…"'
        )
    if guard.approvers and wish.who in ("local", pushed_by):
        person = "Nobody in particular (no key)" if wish.who == "local" else "The one who pushed the version"
        raise Forbidden(
            f"{message} {person} may not override that: the rule asks for {guard.approvers} approver "
            "other than the author.",
            code="move_refused",
            hint="Someone else overrides, with a key of the role approver.",
        )
    return Ground(gate="override", policy=guard.policy)

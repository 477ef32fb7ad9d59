"""On what a move of a protected alias rests: fresh receipts for exactly this content, approvals, or an override."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from headgate.core.errors import Forbidden
from headgate.core.ids import now_us, utc
from headgate.core.protection import PRODUCTION
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


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What there is for a move: the receipts that count, and what is missing in sentences with a hint each."""

    receipts: tuple[str, ...] = ()
    approved_by: tuple[str, ...] = ()
    missing: tuple[tuple[str, str], ...] = ()
    lacking: tuple[str | None, ...] = ()  # suites of which there is no receipt that counts; None: any suite's


def ground_of_move(
    connection: sqlite3.Connection, target: Target, alias: str, wish: Wish, guard: Guard | None, stands: Stands
) -> Ground:
    """On what a move may rest; raises Forbidden (code ``move_refused``) when it rests on nothing."""
    if guard is None:
        return Ground(gate="ungated")
    found = evidence_for(connection, target, alias, guard, stands, mover=wish)
    if not found.missing:
        return Ground(gate="receipt", policy=guard.policy, receipts=found.receipts, approved_by=found.approved_by)
    what, hint = found.missing[0]
    message = f"Refused: {target.name}@{target.number} may not become {alias}. {guard.words} {what}"
    return _overridden(wish, guard, (message, hint), target.pushed_by)


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
    held = receipts.of_object(connection, target.kind, target.name)
    names: list[str | None] = list(dict.fromkeys([*guard.suites, *target.suites])) or [None]
    counted: list[str] = []
    missing: list[tuple[str, str]] = []
    lacking: list[str | None] = []
    for suite in names:
        fits, fault = _best(held, target, guard, stands, suite, alias)
        if fits is not None:
            counted.append(fits.id)
        else:
            lacking.append(suite)
            missing.append((_sentence(target, suite, fault), _hint(connection, target, alias, suite, stands, held)))
    agreed = approvals.approvers(connection, target, alias)
    if mover is not None and _is_second_person(mover, target):
        agreed = sorted({*agreed, mover.who})
    if len(agreed) < guard.approvers:
        missing.append(_approvals_missing(target, alias, guard, len(agreed)))
    return Evidence(
        receipts=tuple(dict.fromkeys(counted)),
        approved_by=tuple(agreed),
        missing=tuple(missing),
        lacking=tuple(lacking),
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
    of = "" if suite is None else f" of suite {suite}"
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
    is_kb = target.kind == "kb"
    stored = suites.of_kb if is_kb else suites.of_prompt
    name = suite or next((receipt.suite for receipt in held), None) or stored(connection, target.name)
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
    to = "" if alias == PRODUCTION else f" --to {alias}"
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

"""What a prompt's version needs to become an alias, what of it is there, and what the one who looks may do about it."""

from collections.abc import Sequence
from dataclasses import dataclass

from headgate.control.access import Principal
from headgate.control.policies import guard_for
from headgate.control.publish import name_of
from headgate.control.state import ControlApp
from headgate.core.ids import now_us
from headgate.registry import prompts, receipts
from headgate.registry.database import Database
from headgate.registry.receipts import Receipt
from headgate.registry.targets import Guard


@dataclass(frozen=True, kw_only=True)
class Held:
    """A receipt with the run that passed."""

    receipt: Receipt
    run: str
    is_expired: bool


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What the rule on an alias asks of one version; ``missing`` has a reason and a way out each, empty: it may move.

    ``may_approve`` and ``may_override`` speak of the one who looks; ``no_approval``, ``no_override`` say why not.
    """

    name: str
    number: int
    alias: str
    is_there: bool  # the alias means this version already
    guard: Guard
    missing: Sequence[tuple[str, str]]
    receipts: Sequence[Held]  # that count
    approved_by: Sequence[str]
    no_approval: str | None
    no_override: str | None

    @property
    def may_approve(self) -> bool:
        """Whether the one who looks can give an approval that is still wanted."""
        return self.guard.approvers > 0 and self.no_approval is None

    @property
    def may_override(self) -> bool:
        """Whether the one who looks may go past the rule, with a reason."""
        return self.no_override is None


def needs_of(control: ControlApp, who: Principal, name: str, alias: str, version: int | str) -> Needs | None:
    """Blocking: what is needed; None where no rule covers the alias. Raises NotFound, and HeadgateError for a
    policy file that cannot be read."""
    registry = control.publisher.registry
    guard = guard_for(control.settings, "prompt", name, alias)
    if guard is None:
        return None
    found = prompts.get_version(registry, name, version)
    evidence = prompts.evidence(registry, name, alias, found.number, guard)
    held = {one.receipt.id: one for one in _held(registry, name)}
    return Needs(
        name=name,
        number=found.number,
        alias=alias,
        is_there=prompts.get_prompt(registry, name).aliases.get(alias) == found.number,
        guard=guard,
        missing=evidence.missing,
        receipts=[held[one] for one in evidence.receipts if one in held],
        approved_by=evidence.approved_by,
        no_approval=_no_approval(who, found.who, evidence.approved_by),
        no_override=_no_override(who, found.who, guard),
    )


def receipts_by_number(registry: Database, name: str) -> dict[int, Held]:
    """Blocking: the receipt of each version that is worth most now: one in force before an expired one, then newest."""
    found: dict[int, Held] = {}
    for one in _held(registry, name):
        other = found.get(one.receipt.number)
        if other is None or (other.is_expired and not one.is_expired):
            found[one.receipt.number] = one
    return found


def _held(registry: Database, name: str) -> list[Held]:
    now = now_us()
    return [
        Held(receipt=receipt, run=run, is_expired=receipt.is_expired(now))
        for receipt, run in receipts.with_runs(registry, "prompt", name)
    ]


def _no_approval(who: Principal, pushed_by: str, approved_by: Sequence[str]) -> str | None:
    """Why the one who looks can give no approval: the registry refuses it in the same cases."""
    if not who.may("approver"):
        return f"your role is {who.role}"
    if name_of(who) == "local":
        return "no key says who you are"
    if name_of(who) == pushed_by:
        return "you pushed the version"
    return "you have approved it" if name_of(who) in approved_by else None


def _no_override(who: Principal, pushed_by: str, guard: Guard) -> str | None:
    if not who.may("approver"):
        return f"your role is {who.role}"
    if guard.approvers and name_of(who) == "local":
        return "the rule asks for an approver, and no key says who you are"
    if guard.approvers and name_of(who) == pushed_by:
        return "the rule asks for an approver other than the author, and you pushed the version"
    return None

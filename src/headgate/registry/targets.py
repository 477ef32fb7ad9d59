"""What an alias shall mean, who wants it, and the rule that covers it: the words in which moves are asked for."""

import re
from dataclasses import dataclass
from typing import Literal

from headgate.core.errors import MalformedRequest
from headgate.core.protection import LATEST, ProtectRule
from headgate.snapshot import Role

Kind = Literal["prompt", "kb", "dataset", "model"]
Gate = Literal["ungated", "receipt", "override", "rollback"]
"""On what a move rests: no rule, receipts, someone's word, or that the version stood there before."""

_ALIAS = re.compile(r"[a-z][a-z0-9._-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class Target:
    """The version an alias shall mean; whoever makes one has seen to it that it exists and is not archived."""

    kind: Kind
    name: str
    number: int
    sha256: str
    pushed_by: str
    suites: tuple[str, ...] = ()  # that the version itself names


@dataclass(frozen=True, kw_only=True)
class Wish:
    """Who wants an alias changed, in what role and why; ``override`` asks to go past the rule that covers it."""

    who: str  # a key's id, or "local"
    role: Role
    reason: str | None = None
    override: bool = False


@dataclass(frozen=True, kw_only=True)
class Guard:
    """A rule that covers an alias, with what its policy asks for now."""

    rule: ProtectRule
    policy_sha256: str
    suites: tuple[str, ...] = ()  # that the policy names, beside the version's own
    approvers: int = 0  # people other than the author
    keeps_yardstick: bool = False  # evidence weaker than that in force needs a second person's yes

    @property
    def policy(self) -> str:
        """The policy as the rule names it."""
        return self.rule.policy

    @property
    def words(self) -> str:
        """The policy and where it is asked for."""
        return f"Policy {self.rule.policy} ({self.rule.where})"


def check_alias(alias: str) -> None:
    """Raises MalformedRequest unless ``alias`` can be the name of an alias."""
    if alias == LATEST:
        raise MalformedRequest(
            f'"{LATEST}" is always the newest version and cannot be moved.', hint="Choose another alias."
        )
    if not _ALIAS.fullmatch(alias):
        raise MalformedRequest(
            f"The alias {shown(alias)} is not allowed.",
            hint="Use a small letter, then small letters, digits, _ . and -, at most 64.",
        )


def shown(text: str) -> str:
    """Text from outside as an error may repeat it."""
    return '"' + "".join(c if c.isprintable() else "?" for c in text[:60]) + '"'

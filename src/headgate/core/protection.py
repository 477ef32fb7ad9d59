"""Which of the server's rules covers the move of an alias."""

from dataclasses import dataclass

from headgate.core.routing import matches
from headgate.core.settings_types import Settings

LATEST = "latest"
"""The reference that always means the newest version that is not archived; never stored, never moved."""
PRODUCTION = "production"
"""What a bare name means, for everything but classic models."""
SHIPPED_POLICIES = ("starter", "standard", "strict")
"""Policies that come with Headgate; any other name of one is a file."""


@dataclass(frozen=True, kw_only=True)
class ProtectRule:
    """A `[[protect]]` that covers an alias, and where it is written."""

    policy: str
    approvers: int
    where: str  # "headgate.toml line 31"
    policy_file: str | None = None  # absolute; None: the policy ships


def rule_for(settings: Settings, kind: str, name: str, alias: str) -> ProtectRule | None:
    """The first `[[protect]]` that covers ``alias`` of the object; None: everyone who may move aliases may move it."""
    for rule in settings.protect:
        if rule.kind == kind and matches(rule.name, name) and matches(rule.alias, alias):
            return ProtectRule(
                policy=rule.policy, approvers=rule.approvers, where=rule.where, policy_file=rule.policy_file
            )
    return None

"""The policies that this server's `[[protect]]` rules name, and what a rule asks of a move now."""

from headgate.core.errors import ConfigurationError
from headgate.core.protection import rule_for
from headgate.core.settings import Settings
from headgate.evals.rule_policies import policy_faults, policy_of
from headgate.registry.targets import Guard

__all__ = ["check_policies", "guard_for", "guard_of_return", "policy_of"]


def guard_for(settings: Settings, kind: str, name: str, alias: str) -> Guard | None:
    """The rule that covers an alias of an object, with what its policy asks; None when none does."""
    rule = rule_for(settings, kind, name, alias)
    if rule is None:
        return None
    policy = policy_of(rule)
    return Guard(
        rule=rule,
        policy_sha256=policy.sha256,
        suites=policy.suites,
        approvers=max(rule.approvers, policy.approvals),
        keeps_yardstick=policy.grade != "C",
    )


def guard_of_return(settings: Settings, kind: str, name: str, alias: str) -> Guard | None:
    """The rule for what asks no evidence (back to what stood there, or an end): a broken policy must not hold it up."""
    rule = rule_for(settings, kind, name, alias)
    return None if rule is None else Guard(rule=rule, policy_sha256="", approvers=rule.approvers)


def check_policies(settings: Settings) -> None:
    """Read every policy file that a rule names; raises ConfigurationError telling what is wrong with all of them."""
    if faults := policy_faults(settings):
        raise ConfigurationError("\n".join(faults), code="policy_invalid", hint="Mend the file; see headgate doctor.")

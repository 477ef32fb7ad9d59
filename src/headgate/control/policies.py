"""The policies that this server's `[[protect]]` rules name, and what a rule asks of a move now."""

from pathlib import Path
from typing import TYPE_CHECKING

from headgate.core.errors import ConfigurationError
from headgate.core.protection import SHIPPED_POLICIES, ProtectRule, rule_for
from headgate.core.settings import Settings
from headgate.registry.targets import Guard

if TYPE_CHECKING:
    from headgate.evals.policy import Policy

MAX_POLICY_BYTES = 256 << 10


def policy_of(rule: ProtectRule) -> "Policy":
    """The policy of a rule as its file is now; raises ConfigurationError when it cannot be used.

    Read each time: an edit counts at once, and receipts under the former text count no more.
    """
    if rule.policy_file is None:
        from headgate.evals.policy import shipped_policy

        return shipped_policy(rule.policy)
    return _read(Path(rule.policy_file), rule.policy, rule.where)


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
    )


def guard_of_return(settings: Settings, kind: str, name: str, alias: str) -> Guard | None:
    """The rule for what asks no evidence (back to what stood there, or an end): a broken policy must not hold it up."""
    rule = rule_for(settings, kind, name, alias)
    return None if rule is None else Guard(rule=rule, policy_sha256="", approvers=rule.approvers)


def check_policies(settings: Settings) -> None:
    """Read every policy file that a rule names; raises ConfigurationError telling what is wrong with all of them."""
    faults = []
    for protect in settings.protect:
        if protect.policy_file is None:
            continue
        try:
            _read(Path(protect.policy_file), protect.policy, protect.where)
        except ConfigurationError as error:
            faults.append(str(error))
    if faults:
        raise ConfigurationError("\n".join(faults), code="policy_invalid", hint="Mend the file; see headgate doctor.")


def _read(path: Path, name: str, where: str) -> "Policy":
    from headgate.evals.faults import EvaluationFault
    from headgate.evals.policy import load_policy

    try:
        if path.stat().st_size > MAX_POLICY_BYTES:
            raise ConfigurationError(f"{where}: the policy {name} is over {MAX_POLICY_BYTES >> 10} KB.")
        return load_policy(path.read_text(encoding="utf-8"), name)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(
            f"{where}: there is no usable policy {name} ({reason}: {path}).",
            code="policy_invalid",
            hint=f"Name {', '.join(SHIPPED_POLICIES)}, or a file beside headgate.toml.",
        ) from error
    except EvaluationFault as error:
        raise ConfigurationError(f"{where}: {error}", code="policy_invalid", hint=error.hint) from error

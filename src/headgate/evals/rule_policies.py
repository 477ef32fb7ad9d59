"""The policies that `[[protect]]` rules of headgate.toml name: read as their files are now."""

from pathlib import Path
from typing import TYPE_CHECKING

from headgate.core.errors import ConfigurationError
from headgate.core.protection import SHIPPED_POLICIES, ProtectRule
from headgate.core.settings_types import Settings

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


def policy_faults(settings: Settings) -> list[str]:
    """What is wrong with the policy files that rules name, each with the line of its rule; empty when nothing is."""
    faults = []
    for protect in settings.protect:
        if protect.policy_file is None:
            continue
        try:
            _read(Path(protect.policy_file), protect.policy, protect.where)
        except ConfigurationError as error:
            faults.append(str(error))
    return faults


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

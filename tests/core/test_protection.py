"""Which rule covers an alias, and where the rule is written."""

from pathlib import Path

from headgate.core.protection import rule_for
from headgate.core.settings import Protect, Settings, load

RULES = Settings(
    protect=(
        Protect(kind="prompt", name="support-*", policy="strict", approvers=1, where="headgate.toml line 3"),
        Protect(kind="prompt", name="*", alias="prod*"),
        Protect(kind="kb"),
    )
)


def test_the_first_rule_that_covers_kind_name_and_alias_counts() -> None:
    found = rule_for(RULES, "prompt", "support-answer", "production")
    assert found is not None
    assert (found.policy, found.approvers, found.where) == ("strict", 1, "headgate.toml line 3")
    other = rule_for(RULES, "prompt", "greet", "prod-eu")
    assert other is not None and (other.policy, other.where) == ("standard", "built in")
    assert rule_for(RULES, "prompt", "greet", "candidate") is None
    assert rule_for(RULES, "model", "greet", "production") is None


def test_a_rule_of_the_file_knows_its_line(tmp_path: Path) -> None:
    file = tmp_path / "headgate.toml"
    file.write_text(
        '[upstreams.a]\nkind = "openai"\nbase_url = "http://127.0.0.1:1/v1"\n\n[[protect]]\nkind = "prompt"\n'
    )
    found = rule_for(load(file, environ={}), "prompt", "greet", "production")
    assert found is not None and found.where == f"{file} line 5"


def test_the_demo_protects_production() -> None:
    assert rule_for(load(demo=True, environ={}), "prompt", "greet", "production") is not None

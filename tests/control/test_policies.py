"""Policies of the server's rules: files beside headgate.toml, read as they are, refused by line, never a way around."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headgate.control.main import prepare
from headgate.control.policies import check_policies, guard_for, guard_of_return
from headgate.core.errors import ConfigurationError
from headgate.core.settings import Protect, Settings, load
from support.control_settings import OPENAI_SETTINGS
from support.pushed_prompts import GREET, push_prompt

Serve = Callable[..., Any]
OWN = """\
schema: headgate/gate@1
grade: C
suites: [greetings]
absolute: [{metric: must_pass, failures: 0}]
"""


def protected(path: Path, name: str = "own.yaml") -> Settings:
    rule = Protect(kind="prompt", policy=name, policy_file=str(path / name), where="headgate.toml line 31")
    return replace(OPENAI_SETTINGS, protect=(rule,))


def test_a_policy_file_is_found_beside_headgate_toml(tmp_path: Path) -> None:
    (tmp_path / "evals").mkdir()
    (tmp_path / "evals" / "own.yaml").write_text(OWN)
    file = tmp_path / "headgate.toml"
    file.write_text(
        '[upstreams.openai]\nkind = "openai"\nbase_url = "http://127.0.0.1:9/v1"\nauth = "caller"\n'
        '[[protect]]\nkind = "prompt"\npolicy = "evals/own.yaml"\n'
    )
    settings = load(file, environ={})
    check_policies(settings)
    guard = guard_for(settings, "prompt", "greet", "production")
    assert guard is not None and (guard.policy, guard.suites) == ("evals/own.yaml", ("greetings",))


def test_an_edit_of_a_policy_is_another_policy_at_once(tmp_path: Path) -> None:
    settings = protected(tmp_path)
    (tmp_path / "own.yaml").write_text(OWN)
    before = guard_for(settings, "prompt", "greet", "production")
    (tmp_path / "own.yaml").write_text(OWN.replace("failures: 0", "failures: 1"))
    after = guard_for(settings, "prompt", "greet", "production")
    assert before is not None and after is not None and before.policy_sha256 != after.policy_sha256


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "No such file"), ("schema: headgate/gate@1\ngrade: Z\n", ":2"), (b"\xff\xfe", "not UTF-8")],
)
def test_a_server_does_not_start_on_a_policy_it_cannot_use(
    serve: Serve, tmp_path: Path, text: str | bytes | None, words: str
) -> None:
    settings = protected(tmp_path)
    if text is not None:
        (tmp_path / "own.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    served = serve(settings=settings)
    with pytest.raises(ConfigurationError) as raised:
        prepare(served.control, settings)
    assert "headgate.toml line 31" in str(raised.value) and words in str(raised.value)


def test_a_policy_that_breaks_later_lets_nothing_through_but_the_way_back(serve: Serve, tmp_path: Path) -> None:
    settings = protected(tmp_path)
    (tmp_path / "own.yaml").write_text(OWN)
    served = serve(settings=settings)
    for system in ("Be kind.", "Be brief."):
        push_prompt(served, GREET.format(name="greet", system=system))
    body = {"alias": "production", "version": 1, "override": True, "reason": "first"}
    assert served.ask("POST", "/api/prompts/greet/aliases", body=body).status_code == 200
    assert served.ask("POST", "/api/prompts/greet/aliases", body={**body, "version": 2}).status_code == 200
    (tmp_path / "own.yaml").write_text("schema: [")
    refused = served.ask("POST", "/api/prompts/greet/aliases", body={"alias": "production", "version": 1})
    assert refused.status_code >= 400 and "own.yaml" in refused.json()["error"]["message"]
    assert guard_of_return(settings, "prompt", "greet", "production") is not None
    assert served.ask("POST", "/api/prompts/greet/rollback", body={}).json()["aliases"] == {"production": 1}


def test_what_a_version_still_needs_can_be_asked(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(OWN)
    served = serve(settings=protected(tmp_path))
    push_prompt(served, GREET.format(name="greet", system="Be kind."))
    needed = served.get("/api/evals/rule?prompt=greet&version=1")
    assert (needed["policy"], needed["grade"], needed["suites"]) == ("own.yaml", "C", ["greetings"])
    assert "suite greetings" in needed["missing"][0]["reason"]
    assert served.get("/api/evals/rule?prompt=greet&version=1&alias=candidate")["rule"] is None

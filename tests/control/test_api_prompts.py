"""The API of prompts: whole pushes, moves under the server's rule, answers for any time, published at once."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from headgate.control.moves import MoveCopy
from headgate.core.ids import now_us, utc
from headgate.core.settings import Protect, Route, Settings, Target
from headgate.snapshot import SnapshotReader
from support.control_settings import OPENAI_SETTINGS

Serve = Callable[..., Any]
GREET = """\
name: {name}
description: Greets someone.
model: gpt-5-mini
parameters: {{max_output_tokens: 100}}
input:
  person: {{type: string}}
messages:
  - {{role: system, content: "{system}"}}
  - {{role: user, content: "Say hello to {{{{ person }}}}."}}
suites: [greetings]
"""
PROTECTED = replace(OPENAI_SETTINGS, protect=(Protect(kind="prompt", where="headgate.toml line 31"),))


def greet(name: str = "greet", system: str = "Be kind.") -> str:
    return GREET.format(name=name, system=system)


def pushing(served: Any, *texts: str, key: str | None = None, **more: Any) -> Any:
    files = [{"file": f"prompts/{number}.yaml", "text": text} for number, text in enumerate(texts)]
    return served.ask("POST", "/api/prompts/push", key=key, body={"files": files, **more})


def promoting(served: Any, version: int | str, alias: str = "production", name: str = "greet", **more: Any) -> Any:
    key = more.pop("key", None)
    body = {"alias": alias, "version": version, **more}
    return served.ask("POST", f"/api/prompts/{name}/aliases", key=key, body=body)


@pytest.fixture
def served(serve: Serve) -> Any:
    """Three versions of greet, no rule, no alias."""
    served = serve()
    for system in ("Be kind.", "Be very kind.", "Be brief."):
        assert pushing(served, greet(system=system)).status_code == 200
    return served


def published(served: Any) -> Any:
    return SnapshotReader(served.control.home.path).load().prompts


def test_a_push_makes_versions_and_tells_what_changed(serve: Serve) -> None:
    served = serve()
    more = {"message": "softer", "git_commit": "3f9a01", "author": "Ada"}
    (first,) = pushing(served, greet(), **more).json()["pushed"]
    assert (first["ref"], first["is_new"], first["previous"], first["latest"], first["changes"]) == (
        "greet@1", True, None, 1, [],
    )  # fmt: skip
    done = pushing(served, greet(system="Be brief."), greet("other")).json()["pushed"]
    assert [(one["ref"], one["changes"]) for one in done] == [
        ("greet@2", ["message 1 (system) changed"]),
        ("other@1", []),
    ]
    (again,) = pushing(served, greet()).json()["pushed"]
    assert (again["ref"], again["is_new"], again["latest"], again["sha256"]) == ("greet@1", False, 2, first["sha256"])
    shown = served.get("/api/prompts/greet")["versions"][-1]
    assert (shown["message"], shown["git_commit"], shown["author"], shown["pushed_by"]) == (
        "softer",
        "3f9a01",
        "Ada",
        "local",
    )
    assert (shown["suites"], shown["model"], shown["archived"], shown["aliases"]) == (
        ["greetings"],
        "gpt-5-mini",
        False,
        [],
    )
    assert shown["created_at"].endswith("Z")


def test_every_fault_of_every_file_is_told_and_nothing_is_pushed(serve: Serve) -> None:
    served = serve()
    texts = (
        greet(),
        greet("a").replace("model: gpt-5-mini", "model: gtp-5-mini"),
        greet("b").replace("suites:", "suits:"),
        greet("c").replace("Be kind.", "{{ nobody }}"),
        greet("d") + "knowledge: {kb: handbook@production, query: '{{ person }}'}\n",
        "name: [",
    )
    answer = pushing(served, *texts)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "prompt_invalid")
    lines = error["message"].splitlines()
    for start, words in (
        ("prompts/1.yaml:3:", 'no route for model "gtp-5-mini". Routes: gpt-*.'),
        ("prompts/2.yaml:10:", "suits"),
        ("prompts/3.yaml:8:", "nobody"),
        ("prompts/4.yaml:11:", 'There is no knowledge base "handbook"'),
        ("prompts/5.yaml:1:", ""),
    ):
        assert any(line.startswith(start) and words in line for line in lines), (start, lines)
    assert served.get("/api/prompts") == {"prompts": []}
    assert published_nothing(served)


def published_nothing(served: Any) -> bool:
    return not (served.control.home.path / "snapshot" / "current").exists()


@pytest.mark.parametrize("body", [{}, {"files": []}, {"files": [{"file": "a"}]}, {"files": [{"file": "a", "text": 1}]}])
def test_a_push_that_makes_no_sense_is_refused(serve: Serve, body: Any) -> None:
    answer = serve().ask("POST", "/api/prompts/push", body=body)
    assert (answer.status_code, bool(answer.json()["error"]["message"])) == (400, True)


def test_the_list_tells_what_a_bare_name_means(served: Any) -> None:
    pushing(served, greet("team/hello"))
    promoting(served, 2, "candidate")
    greet_now, hello = served.get("/api/prompts")["prompts"]
    assert greet_now | {"updated_at": ""} == {
        "name": "greet", "description": "Greets someone.", "aliases": {"candidate": 2}, "latest": 3,
        "current": {"number": 3, "alias": "latest"}, "protected": False, "model": "gpt-5-mini", "version_count": 3,
        "updated_at": "",
    }  # fmt: skip
    assert hello["name"] == "team/hello"
    promoting(served, "candidate")
    assert served.get("/api/prompts")["prompts"][0]["current"] == {"number": 2, "alias": "production"}
    protected = served.control
    protected.settings = replace(PROTECTED, server=protected.settings.server)
    shown = served.get("/api/prompts/team/hello")
    assert (shown["protected"], shown["current"], shown["latest"]) == (True, None, 1)


def test_one_version_is_fetched_with_its_hash_as_etag(served: Any) -> None:
    promoting(served, 2)
    answer = served.ask("GET", "/api/prompts/greet?alias=production")
    found = answer.json()
    assert (found["ref"], found["alias"], found["number"]) == ("greet@2", "production", 2)
    assert found["content"]["messages"][0] == {"role": "system", "content": "Be very kind."}
    etag = answer.headers["etag"]
    assert etag == f'"{found["sha256"]}"'
    for known in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        again = served.ask("GET", "/api/prompts/greet?alias=production", headers={"if-none-match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    promoting(served, 3)
    moved = served.ask("GET", "/api/prompts/greet?alias=production", headers={"if-none-match": etag})
    assert (moved.status_code, moved.json()["number"]) == (200, 3)
    assert served.get("/api/prompts/greet?version=1")["alias"] is None
    assert served.get("/api/prompts/greet?alias=latest")["number"] == 3


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("nobody", 404, "prompt_missing"),
        ("greet?alias=production", 404, "prompt_alias_missing"),
        ("greet?version=9", 404, "prompt_version_missing"),
        ("greet?version=x", 400, "malformed_request"),
        ("greet?version=1&alias=latest", 400, "malformed_request"),
        ("greet?colour=red", 400, "unknown_parameter"),
        ("greet?as_of=2020-01-01", 404, "prompt_missing"),
        ("greet/diff?from=1", 400, "malformed_request"),
        ("greet/diff?from=1&to=9", 404, "prompt_version_missing"),
        ("nobody/versions", 404, "prompt_missing"),
    ],
)
def test_what_is_not_there_is_said(served: Any, path: str, status: int, code: str) -> None:
    answer = served.ask("GET", f"/api/prompts/{path}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_a_difference_is_told_per_field_and_line(served: Any) -> None:
    found = served.get("/api/prompts/greet/diff?from=1&to=latest")
    assert (found["from"], found["to"]) == (1, 3)
    assert found["changes"] == [
        {
            "field": "message 1 (system)",
            "kind": "changed",
            "lines": [{"mark": "-", "text": "Be kind."}, {"mark": "+", "text": "Be brief."}],
            "is_cut": False,
        }
    ]


def test_a_move_is_published_answered_and_noted(served: Any) -> None:
    answer = promoting(served, 2, reason="better").json()
    assert answer["aliases"] == {"production": 2}
    move = answer["move"]
    assert (move["from"], move["to"], move["gate"], move["who"], move["reason"]) == (
        None,
        2,
        "ungated",
        "local",
        "better",
    )
    assert published(served)["greet"].resolve().version.number == 2
    assert promoting(served, 2).json() == {"move": None, "aliases": {"production": 2}}
    entry = served.get("/api/history?object=prompt:greet")["entries"][0]
    assert (entry["action"], entry["reason"], entry["detail"]["to"]) == ("alias.move", "better", 2)


def test_a_removed_alias_and_a_rollback_reach_the_workers(served: Any) -> None:
    for number in (1, 2):
        promoting(served, number)
    back = served.ask("POST", "/api/prompts/greet/rollback", body={"reason": "worse"}).json()
    assert (back["aliases"], back["move"]["action"]) == ({"production": 1}, "rollback")
    assert published(served)["greet"].aliases == {"production": 1}
    gone = served.ask("POST", "/api/prompts/greet/aliases/remove", body={"alias": "production"}).json()
    assert (gone["aliases"], gone["move"]["to"]) == ({}, None)
    assert published(served)["greet"].aliases == {}
    missing = served.ask("POST", "/api/prompts/greet/rollback", body={"alias": "nobody"})
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "alias_missing")


def test_a_protected_move_is_refused_unless_an_approver_overrides_with_a_reason(serve: Serve) -> None:
    served = serve(require_key=True, settings=PROTECTED)
    developer, approver = served.key("developer"), served.key("approver")
    assert pushing(served, greet(), key=developer).status_code == 200
    refused = promoting(served, 1, key=developer)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (403, "move_refused")
    assert error["message"].startswith(
        "Refused: greet@1 may not become production. Policy standard (headgate.toml line 31)"
    )
    assert promoting(served, 1, key=developer, override=True, reason="now").json()["error"]["code"] == "move_refused"
    assert promoting(served, 1, key=approver, override=True).json()["error"]["code"] == "move_refused"
    assert promoting(served, 1, "candidate", key=developer).status_code == 200
    done = promoting(served, 1, key=approver, override=True, reason="now").json()
    assert (done["move"]["gate"], done["move"]["policy"], done["move"]["reason"]) == ("override", "standard", "now")


def test_what_was_in_force_is_answered_for_any_time(served: Any) -> None:
    before = stamp()
    promoting(served, 1)
    between = stamp()
    promoting(served, 2)
    for at, aliases in ((before, {}), (between, {"production": 1}), (stamp(), {"production": 2})):
        assert served.get(f"/api/prompts/greet?as_of={at}")["aliases"] == aliases
        in_force = served.get(f"/api/history?object=greet&as_of={at}")["in_force"]
        assert in_force == [{"object": "prompt:greet", "alias": alias, "version": n} for alias, n in aliases.items()]
    assert served.get(f"/api/prompts/greet?alias=production&as_of={between}")["number"] == 1
    assert served.get(f"/api/prompts?as_of={between}")["prompts"][0]["aliases"] == {"production": 1}
    assert "in_force" not in served.get("/api/history")


def stamp() -> str:
    return utc(now_us()).isoformat().replace("+00:00", "Z")


def test_an_archived_version_leaves_the_snapshot_and_can_come_back(served: Any) -> None:
    archived = served.ask("POST", "/api/prompts/greet/archive", body={"version": 3}).json()["version"]
    assert (archived["number"], archived["archived"]) == (3, True)
    entry = published(served)["greet"]
    assert (entry.latest, sorted(entry.versions), entry.archived) == (2, [1, 2], (3,))
    assert served.get("/api/prompts/greet?version=3")["content"]["model"] == "gpt-5-mini"
    back = served.ask("POST", "/api/prompts/greet/archive", body={"version": 3, "archived": False}).json()
    assert back["version"]["archived"] is False
    assert published(served)["greet"].latest == 3


def test_each_move_is_in_the_log_once_even_after_a_failure_in_between(served: Any) -> None:
    for number in (1, 2, 3):
        promoting(served, number, reason=f"r{number}")
    sql = "SELECT kind, name, alias, from_version, to_version, who, reason FROM alias_moves ORDER BY moved_at"
    rows = served.ask("POST", "/api/sql", body={"query": sql}).json()["rows"]
    assert rows[0] == ["prompt", "greet", "production", None, 1, "local", "r1"]
    assert [row[4] for row in rows] == [1, 2, 3]
    with served.control.log.writing() as connection:  # as if the process had ended between registry and log
        connection.execute("DELETE FROM alias_moves WHERE to_version > 1")
    MoveCopy(served.control.log, served.control.publisher.registry).bring_up_to_date()
    promoting(served, 1, "candidate")
    rows = served.ask("POST", "/api/sql", body={"query": sql}).json()["rows"]
    assert sorted((row[2], row[4]) for row in rows) == [
        ("candidate", 1), ("production", 1), ("production", 2), ("production", 3),
    ]  # fmt: skip


def test_a_render_is_what_a_call_would_send_with_tokens_and_price(served: Any) -> None:
    promoting(served, 2)
    found = served.ask("POST", "/api/prompts/render", body={"ref": "greet", "variables": {"person": "Ada"}}).json()
    assert (found["ref"], found["alias"], found["model"], found["upstream"]) == (
        "greet@2",
        "production",
        "gpt-5-mini",
        "openai",
    )
    assert found["messages"] == [
        {"role": "system", "content": "Be very kind."},
        {"role": "user", "content": "Say hello to Ada."},
    ]
    assert found["body"]["messages"] == found["messages"]
    assert found["tokens"]["input"] > 5 and found["tokens"]["most_output"] == 100
    assert 0 < float(found["price"]["input_usd"]) < float(found["price"]["most_usd"])


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"ref": "greet@1", "variables": {}}, "prompt_variables"),
        ({"ref": "greet@1", "variables": {"person": 7}}, "prompt_variables"),
        ({"ref": "greet@1", "variables": {"person": "a", "more": 1}}, "prompt_variables"),
        ({"ref": "greet@9"}, "prompt_version_missing"),
        ({"ref": "Greet@@"}, "prompt_reference"),
        ({"ref": "greet", "variables": {"person": "a"}, "endpoint": "openai.embeddings"}, "malformed_request"),
        ({"ref": "greet", "variables": {"person": "a"}, "endpoint": "anthropic.messages"}, "no_target"),
    ],
)
def test_what_cannot_be_rendered_is_refused(served: Any, body: Any, code: str) -> None:
    answer = served.ask("POST", "/api/prompts/render", body=body)
    assert (answer.json()["error"]["code"], answer.status_code in (400, 404)) == (code, True)


def test_an_unknown_price_of_a_render_is_null_with_the_reason(serve: Serve) -> None:
    unknown = Route(model="*", targets=(Target(upstream="openai", model="nobody-knows"),))
    settings: Settings = replace(OPENAI_SETTINGS, routes=(unknown,))
    served = serve(settings=settings)
    pushing(served, greet())
    found = served.ask("POST", "/api/prompts/render", body={"ref": "greet", "variables": {"person": "Ada"}}).json()
    assert (found["price"]["input_usd"], found["model"]) == (None, "nobody-knows")
    assert "nobody-knows" in found["price"]["reason"] or "unknown model" in found["price"]["reason"]

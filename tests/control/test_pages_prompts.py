"""The pages of prompts: what is shown, what its forms change, what stays text."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from headgate.core.settings import Protect
from headgate.registry import prompts
from headgate.registry.aliases import Wish
from support.control_settings import OPENAI_SETTINGS
from support.pages import HOSTILE, checked
from support.prompt_files import pushed

Serve = Callable[..., Any]
ME = Wish(who="local", role="admin", reason="because")
PROTECTED = replace(OPENAI_SETTINGS, protect=(Protect(kind="prompt", where="headgate.toml line 31"),))


def fill(served: Any, *texts: str, name: str = "greet") -> None:
    for text in texts:
        prompts.push(served.control.publisher.registry, [pushed(name, text)], who="local", message=f"says {text}")


def csrf(page: str) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found is not None
    return found[1]


def test_an_empty_registry_says_how_to_push_the_first_prompt(serve: Serve) -> None:
    text = checked(serve().ask("GET", "/ui/prompts").text).text
    assert "No prompts yet" in text and "headgate prompt push" in text and "{{ person }}" in text


def test_the_list_shows_where_production_stands_and_what_was_called(serve: Serve) -> None:
    served = serve()
    fill(served, "one", "two")
    fill(served, "one", name="team/other")
    prompts.move_alias(served.control.publisher.registry, "greet", "production", 1, ME, None)
    for version in (1, 1, 2):
        served.record(prompt_name="greet", prompt_version=version)
    served.record(prompt_name="greet", prompt_version=1, purpose="eval")
    page = served.ask("GET", "/ui/prompts").text
    assert 'aria-current="page">Prompts' in page
    found = checked(page)
    assert {"/ui/prompts/greet", "/ui/prompts/team/other"} <= set(found.links)
    row = re.search(r"<tr>.*?/ui/prompts/greet.*?</tr>", page, re.S)
    assert row is not None
    assert '<span class="badge good">1</span>' in row[0]
    assert re.search(r'class="num calls">3<', row[0])


def test_one_prompt_shows_its_versions_with_calls_cost_and_latency(serve: Serve) -> None:
    served = serve()
    fill(served, "Say hello", "Say good morning")
    prompts.move_alias(served.control.publisher.registry, "greet", "production", 1, ME, None)
    served.record(prompt_name="greet", prompt_version=1, latency_us=812_000)
    served.record(prompt_name="greet", prompt_version=2, status=500, outcome="upstream_error")
    page = served.ask("GET", "/ui/prompts/greet").text
    text = checked(page).text
    for words in (
        "production 1",
        "says Say good morning",
        "812 ms",
        "From 1 to 2",
        "good morning",
        "Version 1",
        "because",
    ):
        assert words in text, words
    assert "/ui/requests?prompt=greet%401" in page
    second = checked(served.ask("GET", "/ui/prompts/greet?version=2&since=all").text).text
    assert "Version 2" in second
    compared = checked(served.ask("GET", "/ui/prompts/greet?from=2&to=1").text).text
    assert "From 2 to 1" in compared


def test_hostile_text_of_a_prompt_stays_text(serve: Serve) -> None:
    served = serve()
    registry = served.control.publisher.registry
    for text in (HOSTILE, HOSTILE + "!"):
        file = pushed(
            "greet", text, suites=(HOSTILE,), input={HOSTILE: {"type": "string", "default": HOSTILE}},
            parameters={HOSTILE: HOSTILE}, tools=[{"function": {"name": HOSTILE}}], response_format={"x": HOSTILE},
        )  # fmt: skip
        file = replace(file, description=HOSTILE)
        prompts.push(registry, [file], who=HOSTILE, message=HOSTILE, author=HOSTILE, git_commit=HOSTILE)
    prompts.move_alias(registry, "greet", "production", 1, Wish(who=HOSTILE, role="admin", reason=HOSTILE), None)
    shown = checked(served.ask("GET", "/ui/prompts/greet").text)
    assert shown.text.count("alert(1)") > 10
    assert HOSTILE in checked(served.ask("GET", "/ui/prompts").text).text


def test_the_form_moves_an_alias_and_needs_its_token(serve: Serve) -> None:
    served = serve()
    fill(served, "one", "two")
    token = csrf(served.ask("GET", "/ui/prompts/greet").text)
    form = {"csrf": token, "alias": "production", "version": "2", "reason": "better"}
    assert served.ask("POST", "/ui/prompts/greet/aliases", form={**form, "csrf": "x"}).status_code == 403
    answer = served.ask("POST", "/ui/prompts/greet/aliases", form=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui/prompts/greet")
    assert served.get("/api/prompts/greet")["aliases"] == {"production": 2}
    served.ask("POST", "/ui/prompts/greet/aliases", form={**form, "version": "1"})
    served.ask("POST", "/ui/prompts/greet/rollback", form={"csrf": token, "alias": "production"})
    assert served.get("/api/prompts/greet")["aliases"] == {"production": 2}
    served.ask("POST", "/ui/prompts/greet/aliases/remove", form={"csrf": token, "alias": "production"})
    assert served.get("/api/prompts/greet")["aliases"] == {}


def test_a_refused_move_is_a_page_with_the_rule(serve: Serve) -> None:
    served = serve(settings=PROTECTED)
    fill(served, "one")
    page = served.ask("GET", "/ui/prompts/greet").text
    assert "not released" in page and "headgate.toml line 31" in page
    form = {"csrf": csrf(page), "alias": "production", "version": "1"}
    refused = served.ask("POST", "/ui/prompts/greet/aliases", form=form)
    assert refused.status_code == 403
    assert "Refused: greet@1 may not become production." in checked(refused.text).text
    override = {**form, "override": "1", "reason": "it is only a test"}
    assert served.ask("POST", "/ui/prompts/greet/aliases", form=override).status_code == 303
    text = checked(served.ask("GET", "/ui/prompts/greet").text).text
    assert "override" in text and "it is only a test" in text


def test_a_key_of_a_project_counts_only_its_own_calls(serve: Serve) -> None:
    served = serve(require_key=True)
    fill(served, "one")
    for project in ("blue", "green", "green"):
        served.record(prompt_name="greet", prompt_version=1, project=project)
    page = served.ask("GET", "/ui/prompts", key=served.key("developer", project="blue")).text
    assert re.search(r'class="num calls">1<', page)
    page = served.ask("GET", "/ui/prompts", key=served.key("admin")).text
    assert re.search(r'class="num calls">3<', page)


@pytest.mark.parametrize(
    "path", ["nobody", "greet?version=9", "greet?from=9&to=1", "greet?version=x", "greet/versions"]
)
def test_what_is_not_there_is_a_page_that_says_so(serve: Serve, path: str) -> None:
    served = serve()
    fill(served, "one")
    answer = served.ask("GET", f"/ui/prompts/{path}")
    assert answer.status_code == 404
    assert "There is no" in checked(answer.text).text or "has no" in checked(answer.text).text

"""Moving a protected alias on the pages: the API's words, what is missing, and the ways out that each person has."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from headgate.core.settings import Protect
from support.control_settings import OPENAI_SETTINGS
from support.eval_bench import SUITE, Bench
from support.pages import HOSTILE, checked

Serve = Callable[..., Any]
CROWD = tuple(f"Person {number}" for number in range(24))
GATED = SUITE + '  - {id: by_name, type: regex, pattern: "Hello Person", role: primary}\n'
RULE = Protect(kind="prompt", policy="starter", where="headgate.toml line 31", approvers=1)
PEOPLE = ("author", "boss", "developer")


class House:
    """A server that wants two people for production: an author, another approver, a developer; version 1 is tried."""

    def __init__(self, served: Any) -> None:
        self.served = served
        self.keys = {
            "author": served.key("approver"),
            "boss": served.key("approver", "other"),
            "developer": served.key("developer"),
        }
        self.bench = Bench(served, CROWD, GATED, key=self.keys["author"])

    def page(self, who: str, path: str = "/ui/prompts/greet") -> str:
        answer = self.served.ask("GET", path, key=self.keys[who])
        assert answer.status_code == 200, answer.text
        return str(answer.text)

    def token(self, who: str) -> str:
        found = re.search(r'name="csrf" value="([^"]+)"', self.page(who))
        assert found is not None
        return found[1]

    def form(self, who: str, action: str, **fields: str) -> Any:
        """What one of the forms of the prompt's page brings."""
        sent = {"csrf": self.token(who), "alias": "production", **fields}
        return self.served.ask("POST", f"/ui/prompts/greet/{action}", form=sent, key=self.keys[who])

    def aliases(self) -> Any:
        return self.served.get("/api/prompts/greet", key=self.keys["author"])["aliases"]


@pytest.fixture(scope="module")
def house(serve_module: Serve) -> House:
    return House(serve_module(settings=replace(OPENAI_SETTINGS, protect=(RULE,)), require_key=True))


def words(page: str) -> str:
    return re.sub(r"\s+", " ", checked(page).text)


def test_the_page_refuses_in_the_words_of_the_api(house: House) -> None:
    for who in PEOPLE:
        body = {"alias": "production", "version": 2}
        told = house.served.ask("POST", "/api/prompts/greet/aliases", body=body, key=house.keys[who])
        shown = house.form(who, "aliases", version="2")
        assert (told.status_code, shown.status_code) == (403, 403)
        error = told.json()["error"]
        assert error["message"] in words(shown.text) and error["hint"] in words(shown.text)
        assert "headgate eval gate greetings --prompt greet@2" in words(shown.text)
    assert house.aliases() == {}


def test_the_refusal_names_all_that_is_missing_and_what_each_person_may_do(house: House) -> None:
    pages = {who: house.form(who, "aliases", version="2").text for who in PEOPLE}
    for page in pages.values():
        assert "/ui/prompts/greet?version=2" in checked(page).links
    for who in ("author", "developer"):
        assert "All that is missing" in words(pages[who])
        assert "asks for 1 approval by someone other than the author" in words(pages[who])
        assert "/ui/prompts/greet/approve" not in pages[who] and 'name="override"' not in pages[who]
        assert "headgate prompt approve greet@2 --reason" in words(pages[who])
    assert "you pushed the version" in words(pages["author"])
    assert "you may not: your role is developer" in words(pages["developer"])
    assert 'action="/ui/prompts/greet/approve"' in pages["boss"] and 'name="override"' in pages["boss"]


def test_a_version_reaches_production_by_its_receipt_and_an_approval_given_on_the_page(house: House) -> None:
    run = house.bench.evaluated(1)
    passed = house.bench.post("/api/evals/gate", {"candidate": run, "alias": "production"})
    assert passed["receipt"] is not None
    page = house.page("developer", "/ui/prompts/greet?version=1")
    assert f"/ui/runs/{run}" in checked(page).links and "/ui/runs?prompt=greet%401" in checked(page).links
    assert "0 of 1 approval" in words(page) and "Make 1 production" not in page
    refused = house.form("developer", "aliases", version="1")
    assert "asks for 1 approval" in words(refused.text) and "1 run of version 1" in words(refused.text)

    own = house.form("author", "approve", version="1", reason="mine")
    assert own.status_code == 403 and "may not approve greet@1" in words(own.text)
    assert house.form("developer", "approve", version="1", reason="nice").status_code == 403
    assert house.form("boss", "approve", version="1").status_code == 400
    given = house.form("boss", "approve", version="1", reason=HOSTILE)
    assert (given.status_code, given.headers["location"]) == (303, "/ui/prompts/greet?version=1")

    page = house.page("developer", "/ui/prompts/greet?version=1")
    assert "1 of 1 approval" in words(page) and "Everything is there." in words(page) and "Make 1 production" in page
    assert "grade C" in words(page) and "until" in words(page)
    assert house.form("developer", "aliases", version="1", reason="it passed").status_code == 303
    assert house.aliases() == {"production": 1}
    page = house.page("developer", "/ui/prompts/greet?version=1")
    assert "production means this version now." in words(page) and "it passed" in words(page)

    removal = house.form("developer", "aliases/remove")
    assert removal.status_code == 403 and "may not be removed" in words(removal.text)
    assert "An approver may override the rule with a reason." in words(removal.text)
    over = house.form("boss", "aliases", version="2", override="1", reason="the house is on fire")
    assert over.status_code == 303 and house.aliases() == {"production": 2}
    assert "the house is on fire" in words(house.page("developer"))
    no_reason = house.form("boss", "aliases", version="1", override="1")
    assert no_reason.status_code == 403 and "An override needs a reason." in words(no_reason.text)
    assert house.aliases() == {"production": 2}


def test_a_policy_file_that_cannot_be_read_does_not_take_the_page(serve: Serve, tmp_path: Any) -> None:
    served = serve(settings=replace(OPENAI_SETTINGS, protect=(replace(RULE, policy=str(tmp_path / "gone.yaml")),)))
    Bench(served)
    answer = served.ask("GET", "/ui/prompts/greet")
    assert answer.status_code == 200 and "gone.yaml" in words(answer.text)


def test_a_receipt_that_is_past_its_time_is_shown_as_expired(serve: Serve) -> None:
    absolute = "absolute: [{metric: must_pass, failures: 24}]"
    policy = f"schema: headgate/gate@1\nname: brief\ngrade: C\nreceipt: {{expires: 1ms}}\n{absolute}\n"
    bench = Bench(serve(), CROWD, GATED)
    run = bench.evaluated(1)
    assert bench.post("/api/evals/gate", {"candidate": run, "policy": policy})["receipt"] is not None
    for path in ("/ui/prompts/greet", f"/ui/runs/{run}"):
        assert "expired 20" in words(bench.served.ask("GET", path).text), path

"""The pages of runs: what is listed, what one run shows, what leads where, what stays text."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest

from headgate.core.settings import Protect
from support.control_settings import OPENAI_SETTINGS
from support.eval_bench import SUITE, Bench
from support.pages import HOSTILE, checked

Serve = Callable[..., Any]
CROWD = tuple(f"Person {number}" for number in range(24))
GATED = SUITE + '  - {id: by_name, type: regex, pattern: "Hello Person", role: primary}\n'
RULE = Protect(kind="prompt", policy="starter", where="headgate.toml line 31")
SETTINGS = replace(OPENAI_SETTINGS, protect=(RULE,))


class Story(Bench):
    """Version 1 passed its gate and is production; version 2 lost against it; a third run is still going on."""

    def __init__(self, served: Any) -> None:
        super().__init__(served, CROWD, GATED)
        self.first = self.evaluated(1)
        self.passed = self.post("/api/evals/gate", {"candidate": self.first, "alias": "production"})
        assert self.promote(1).status_code == 200
        self.worse = self.evaluated(2, bad=CROWD[:9], baseline_run=self.first)
        wanted = {"candidate": self.worse, "baseline": self.first, "alias": "production"}
        self.failed = self.post("/api/evals/gate", wanted)
        self.running = self.start("greet@1", resume=False)["run"]
        self.asked = self.call(self.running, CROWD[0], tags={"cell": "other", "run": self.running}, number=1)

    def page(self, path: str) -> str:
        answer = self.served.ask("GET", path)
        assert answer.status_code == 200, answer.text
        return str(answer.text)


@pytest.fixture(scope="module")
def story(serve_module: Serve) -> Story:
    return Story(serve_module(settings=SETTINGS))


def listed(page: str) -> list[str]:
    return re.findall(r'class="row-link" href="/ui/runs/(run_\w+)"', page)


def test_a_home_without_runs_says_how_to_make_the_first(serve: Serve) -> None:
    text = checked(serve().ask("GET", "/ui/runs").text).text
    assert "No runs yet" in text and "headgate eval init" in text


def test_runs_are_listed_newest_first_with_their_verdict(story: Story) -> None:
    page = story.page("/ui/runs")
    assert listed(page) == [story.running, story.worse, story.first]
    assert 'aria-current="page">Runs' in page
    rows = re.findall(r"<tr>.*?</tr>", page, re.S)[1:]
    text = [checked(row).text for row in rows]
    for row, words in zip(
        text, (("running", "not gated"), ("greet@2", "complete", "failed"), ("passed", "grade C")), strict=True
    ):
        assert all(word in row for word in words), row
    assert re.search(r"\$0\.0\d", text[2])


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("suite=greetings", ["running", "worse", "first"]),
        ("suite=others", []),
        ("prompt=greet%402", ["worse"]),
        ("prompt=greet", ["running", "worse", "first"]),
        ("state=running", ["running"]),
        ("state=complete", ["worse", "first"]),
        ("state=budget", []),
        ("verdict=pass", ["first"]),
        ("verdict=fail&since=24h", ["worse"]),
        ("verdict=none", ["running"]),
        ("since=2099-01-01T00:00:00Z", []),
    ],
)
def test_filters_narrow_the_list_and_stay_in_the_form(story: Story, query: str, found: list[str]) -> None:
    page = story.page(f"/ui/runs?{query}")
    assert listed(page) == [getattr(story, name) for name in found]
    assert found or "No run matches" in page
    name, _, value = query.split("&")[0].partition("=")
    assert f'<option value="{value}" selected>' in page or f'value="{value.replace("%40", "@")}"' in page


@pytest.mark.parametrize("query", ["state=lost", "verdict=great", "prompt=greet%40best", "since=tea", "colour=red"])
def test_a_filter_that_means_nothing_is_refused_with_its_value(story: Story, query: str) -> None:
    answer = story.served.ask("GET", f"/ui/runs?{query}")
    assert answer.status_code == 400
    assert query.split("=")[1].replace("%40", "@") in answer.text or "colour" in answer.text


def test_pages_lead_both_ways(serve: Serve) -> None:
    served = serve()
    lines = "\n".join(
        f'{{"run": "r{n:03}", "item": "a", "repeat": 0, "system": "s@1", "scorer": "x", "value": 1, "status": "ok"}}'
        for n in range(60)
    )
    assert served.send("/api/evals/import?file=a.jsonl", lines.encode(), "application/x-ndjson").status_code == 200
    first = served.ask("GET", "/ui/runs?since=all").text
    (older,) = re.findall(r'href="([^"]+)" rel="next"', first)
    second = served.ask("GET", older.replace("&amp;", "&")).text
    assert (len(listed(first)), len(listed(second))) == (50, 10)
    assert "No older ones" in second
    (newer,) = re.findall(r'href="([^"]+)" rel="prev"', second)
    assert listed(served.ask("GET", newer.replace("&amp;", "&")).text) == listed(first)


def test_a_run_shows_its_report_with_the_verdict_first(story: Story) -> None:
    page = story.page(f"/ui/runs/{story.worse}")
    shown = checked(page)
    main = page[page.index("<main") :]
    assert main.index("The gate failed.") < main.index("Better, equal, worse") < main.index("Rules of the policy")
    for words in ("greet@2 against greet@1", "Go away.", "no receipt", "Hello Person 0"):
        assert words in re.sub(r"\s+", " ", shown.text), words
    assert "/ui/static/report.css" in page
    for link in ("/ui/prompts/greet?version=2", "/ui/prompts/greet?version=1", f"/ui/runs/{story.first}"):
        assert link in shown.links
    requests = [link for link in shown.links if link.startswith("/ui/requests/")]
    assert len(requests) == 2 * len(CROWD)
    assert story.served.ask("GET", requests[0]).status_code == 200


def test_a_run_lists_its_gates_and_their_receipts(story: Story) -> None:
    page = story.page(f"/ui/runs/{story.first}")
    text = checked(page).text
    assert story.passed["receipt"]["receipt"] in text and "good until" in text
    assert "nothing in force" in text and "The gate passed." in text
    receipt = story.served.get(f"/api/receipts/{story.passed['receipt']['receipt']}")
    assert receipt["sha256"] == story.sha256(1)
    earlier = story.page(f"/ui/runs/{story.first}?decision={story.passed['decision']}")
    assert story.passed["decision"] in earlier
    assert story.served.ask("GET", f"/ui/runs/{story.first}?decision={story.failed['decision']}").status_code == 404


def test_a_run_is_compared_with_the_run_of_production(story: Story) -> None:
    page = story.page(f"/ui/runs/{story.worse}")
    assert "Production means version 1 now, and this is the comparison with it." in checked(page).text
    assert "This is what production means now." in checked(story.page(f"/ui/runs/{story.first}")).text
    other = story.page(f"/ui/runs/{story.first}?against={story.worse}")
    assert "greet@1 against greet@2" in re.sub(r"\s+", " ", checked(other).text)
    assert f'<option value="{story.worse}" selected>' in other


def test_a_running_run_says_how_far_it_is_and_how_to_go_on(story: Story) -> None:
    page = story.page(f"/ui/runs/{story.running}")
    text = re.sub(r"\s+", " ", checked(page).text)
    assert "This run is not finished." in text and "1 of at most 24" in text and "Calls are being made." in text
    assert 'http-equiv="refresh"' not in page
    watched = story.page(f"/ui/runs/{story.running}?watch=1")
    assert 'http-equiv="refresh" content="5"' in watched and "stop that" in watched
    assert 'http-equiv="refresh"' not in story.page(f"/ui/runs/{story.first}?watch=1")


def test_a_partial_run_tells_what_is_missing_and_how_to_go_on(serve: Serve) -> None:
    bench = Bench(serve())
    run = bench.start()["run"]
    bench.call(run, "Ada", age_s=600.0)
    assert bench.finish(run, [], stopped="budget")["status"] == "partial"
    text = re.sub(r"\s+", " ", checked(bench.served.ask("GET", f"/ui/runs/{run}").text).text)
    assert "stopped by its budget" in text and f"headgate eval resume {run}" in text
    assert "This run is partial." in text and "Cases without a result" in text


def test_every_cell_leads_to_its_request_and_the_request_back(story: Story) -> None:
    page = story.page(f"/ui/runs/{story.worse}/cells")
    shown = checked(page)
    links = [link for link in shown.links if re.fullmatch("/ui/requests/[0-9a-f-]{36}", link)]
    assert len(links) == len(CROWD)
    request = story.page(links[0])
    (back,) = [link for link in checked(request).links if f"/ui/runs/{story.worse}/cells" in link]
    place = re.search(r"#cell-(\d+)", back)
    assert place is not None and f'id="cell-{place[1]}"' in story.page(back.partition("#")[0])
    few = story.page(f"/ui/runs/{story.worse}/cells?limit=10&after=20")
    assert len(re.findall(r'<tr id="cell-', few)) == 4 and "No more" in few
    assert "limit=10" in few and 'rel="prev"' in few


def test_a_request_leads_to_every_run_that_rests_on_it(serve: Serve) -> None:
    bench = Bench(serve())
    first = bench.evaluated(1)
    again = bench.start("greet@1", resume=False)["run"]
    assert bench.finish(again, [])["totals"]["cached"] == 3
    page = bench.served.ask("GET", f"/ui/runs/{again}/cells").text
    link = next(one for one in checked(page).links if one.startswith("/ui/requests/"))
    links = checked(bench.served.ask("GET", link).text).links
    assert [one for one in links if one in (f"/ui/runs/{first}", f"/ui/runs/{again}")] == [
        f"/ui/runs/{again}",
        f"/ui/runs/{first}",
    ]


def test_a_judges_request_leads_to_the_run_and_the_answer_it_was_asked_about(story: Story) -> None:
    cells = story.served.get(f"/api/evals/runs/{story.first}/cells?limit=1")["cells"]
    tags = {"cell": "a" * 64, "run": story.first, "about": cells[0]["key"]}
    request = story.served.record(purpose="judge", prompt_name="judge", tags=tags)
    links = checked(story.page(f"/ui/requests/{request}")).links
    assert f"/ui/runs/{story.first}/cells?after={cells[0]['place']}#cell-{cells[0]['place']}" in links
    for run in ("run_nobody", HOSTILE, "../../x"):
        stray = story.served.record(purpose="judge", tags={"run": run, "cell": "b", "about": "c"})
        assert not [one for one in checked(story.page(f"/ui/requests/{stray}")).links if one.startswith("/ui/runs/")]


def test_imported_results_of_several_systems_are_shown_one_by_one_or_against_each_other(serve: Serve) -> None:
    served = serve()
    lines = [
        {"run": "p", "item": f"i{n}", "repeat": 0, "system": system, "scorer": "x", "value": n / 9, "status": "ok"}
        for system in ("gpt-a", "gpt-b", HOSTILE)
        for n in range(9)
    ]
    body = "\n".join(map(json.dumps, lines)).encode()
    (made,) = served.send("/api/evals/import?file=a.jsonl", body, "application/x-ndjson").json()["runs"]

    def shown(query: str = "") -> str:
        answer = served.ask("GET", f"/ui/runs/{made['run']}{query}")
        assert answer.status_code == 200, answer.text
        return re.sub(r"\s+", " ", checked(answer.text).text)

    assert "These results hold 3 systems." in shown() and HOSTILE in shown()
    assert "gpt-b against gpt-a" in shown("?system=gpt-b&against_system=gpt-a")
    assert "gpt-b, 9 cases" in shown("?system=gpt-b")
    assert served.ask("GET", f"/ui/runs/{made['run']}?system=gpt-c").status_code == 400
    report = served.get(f"/api/evals/runs/{made['run']}/report?system=gpt-b&against_system=gpt-a")
    assert (report["candidate"]["ref"], report["baseline"]["ref"], report["ties"]) == ("gpt-b", "gpt-a", 9)


def test_hostile_text_of_a_run_stays_text(serve: Serve) -> None:
    served = serve()
    lines = [
        {
            "run": HOSTILE, "item": HOSTILE + str(number), "repeat": 0, "system": HOSTILE, "scorer": HOSTILE,
            "value": number / 9, "status": "ok", "reason": HOSTILE, "tags": {HOSTILE: HOSTILE}, "cluster": HOSTILE,
        }
        for number in range(9)
    ]  # fmt: skip
    body = "\n".join(map(json.dumps, lines)).encode()
    (made,) = served.send("/api/evals/import?file=a.jsonl", body, "application/x-ndjson").json()["runs"]
    for path in ("/ui/runs", f"/ui/runs/{made['run']}", f"/ui/runs/{made['run']}?against={made['run']}"):
        answer = served.ask("GET", path)
        assert answer.status_code == 200
        assert "alert(1)" in checked(answer.text).text, path
        assert "script-src" not in answer.headers["content-security-policy"]
    bench = Bench(serve(), (HOSTILE, "Ada"))
    run = bench.start()["run"]
    for name in bench.people:
        bench.call(run, name, HOSTILE + name, finish_reason=HOSTILE)
    bench.finish(run, [])
    for path in (f"/ui/runs/{run}", f"/ui/runs/{run}/cells"):
        assert "alert(1)" in checked(bench.served.ask("GET", path).text).text


def test_runs_need_a_developer_and_show_no_answers_of_other_projects(serve: Serve) -> None:
    served = serve(require_key=True)
    boss = served.key("admin")
    bench = Bench(served, key=boss)
    run = bench.start()["run"]
    for name in bench.people:
        bench.call(run, name, "A secret greeting", project="blue")
    bench.finish(run, [])
    for path in ("/ui/runs", f"/ui/runs/{run}", f"/ui/runs/{run}/cells"):
        assert served.ask("GET", path).headers["location"] == f"/ui/login?to={quote(path, safe='')}"
        assert served.ask("GET", path, key=served.key("app")).status_code == 403
    assert "A secret greeting" in served.ask("GET", f"/ui/runs/{run}", key=boss).text
    assert "A secret greeting" not in served.ask("GET", f"/ui/runs/{run}", key=served.key("developer", "green")).text


def test_a_run_that_is_not_there_is_a_page_that_says_so(story: Story) -> None:
    for path in ("/ui/runs/run_nobody", "/ui/runs/run_nobody/cells"):
        answer = story.served.ask("GET", path)
        assert answer.status_code == 404 and "There is no run" in checked(answer.text).text

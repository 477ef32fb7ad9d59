"""The gate of knowledge bases: a protected alias moves under a receipt for exactly that version, and nothing else."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from headgate.core.settings import Protect
from headgate.registry import prompts
from support.control_settings import OPENAI_SETTINGS
from support.kb_bench import ASK, QUESTIONS, SUITE, KbBench
from support.pushed_prompts import push_prompt

Serve = Callable[..., Any]
RULE = Protect(kind="kb", policy="starter", where="headgate.toml line 40")
BOTH = (RULE, Protect(kind="prompt", policy="starter", where="headgate.toml line 31"))
PROTECTED = replace(OPENAI_SETTINGS, protect=BOTH)


@pytest.fixture
def bench(serve: Serve) -> KbBench:
    return KbBench(serve(settings=PROTECTED))


def test_a_version_reaches_production_by_its_receipt_and_a_worse_one_does_not(bench: KbBench) -> None:
    refused = bench.promote(1)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "move_refused")
    assert "headgate eval gate answers --kb handbook@1" in refused.json()["error"]["hint"]
    first = bench.evaluated()
    passed = bench.gate(first)
    assert [(one["kind"], one["object"], one["number"]) for one in passed["receipts"]] == [
        ("prompt", "ask", 1),
        ("kb", "handbook", 1),
    ]
    moved = bench.promote(1).json()["move"]
    assert (moved["gate"], moved["receipt_id"]) == ("receipt", passed["receipts"][1]["receipt"])

    worse = bench.evaluated(kb=2, bad=QUESTIONS[:9], baseline_run=first)
    failed = bench.gate(worse, first)
    assert (failed["verdict"]["verdict"], failed["receipts"]) == ("fail", [])
    said = bench.promote(2).json()["error"]
    assert "Refused: handbook@2 may not become production. Policy starter (headgate.toml line 40)" in said["message"]
    assert "headgate eval gate answers --kb handbook@2 --against production (24 calls" in said["hint"]

    push_prompt(bench.served, ASK.format(kb=1, system="Be brief."))
    other = bench.evaluated(2, kb=2)
    elsewhere = bench.gate(other, first)
    assert elsewhere["no_receipt"] == "the two sides differ in more than the version that is judged"
    before = bench.evaluated(2)
    passed = bench.gate(other, before)
    assert passed["verdict"]["candidate"] == "ask@2 with handbook@2"
    (receipt,) = passed["receipts"]
    assert (receipt["kind"], receipt["sha256"]) == ("kb", bench.kb_sha256(2))
    assert receipt["baseline_sha256"] == bench.kb_sha256(1)
    assert bench.promote(2).json()["aliases"] == {"production": 2}
    newest = bench.served.get("/api/history?object=kb:handbook")["entries"]
    assert [entry["action"] for entry in newest[:2]] == ["alias.move", "gate.pass"]
    assert newest[0]["detail"]["receipt"] == newest[1]["detail"]["receipt"] == receipt["receipt"]


def test_a_pin_that_moved_alone_is_evidence_for_both_and_each_under_its_own_policy(bench: KbBench) -> None:
    push_prompt(bench.served, ASK.format(kb=2, system="Be kind."))
    before, after = bench.evaluated(1), bench.evaluated(2, pin=2)
    passed = bench.gate(after, before)
    assert [one["kind"] for one in passed["receipts"]] == ["prompt", "kb"]
    assert [one["baseline_sha256"] for one in passed["receipts"]] == [
        prompts.get_version(bench.registry, "ask", 1).sha256,
        bench.kb_sha256(1),
    ]
    as_kb = bench.gate(after, before, object="kb")
    assert as_kb["verdict"]["policy"] == "starter"
    push_prompt(bench.served, ASK.format(kb=2, system="Be short."))
    changed = bench.evaluated(3, pin=2)
    assert [one["kind"] for one in bench.gate(changed, before)["receipts"]] == ["prompt"]
    refused = bench.served.ask(
        "POST", "/api/evals/gate", body={"candidate": changed, "baseline": before, "object": "kb"}
    )
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "not_about_it")


def test_answers_of_another_version_are_no_evidence(bench: KbBench) -> None:
    run = bench.start(kb="handbook@2")["run"]
    for question in QUESTIONS:
        bench.call(run, question, cell_kb=2, read=1)
    done = bench.finish(run)
    assert done["status"] == "complete" and done["totals"]["failed"] == len(QUESTIONS)
    assert "it read handbook@1, not handbook@2" in done["missing"][0]["reason"]
    assert bench.gate(run)["receipts"] == []

    plain = bench.start()["run"]
    for question in QUESTIONS:
        bench.call(plain, question, read=2)
    assert "it read handbook@2, not handbook@1" in bench.finish(plain)["missing"][0]["reason"]
    keys = [bench.call(plain, QUESTIONS[0], read=None)]
    assert keys and "it read handbook@2" in bench.finish(plain)["missing"][0]["reason"]


def test_what_the_log_is_said_to_have_is_what_will_count(bench: KbBench) -> None:
    run = bench.start(kb="handbook@2")["run"]
    for question, read, cell_kb in ((QUESTIONS[0], 1, 2), (QUESTIONS[1], 2, 2), (QUESTIONS[2], 2, None)):
        bench.call(run, question, read=read, cell_kb=cell_kb)
    keys = [one["key"] for one in bench.finish(run)["missing"]]
    again = bench.start()["run"]
    keys += [one["key"] for one in bench.finish(again)["missing"]]
    counted = [one["key"] for one in bench.served.get(f"/api/evals/runs/{run}/cells")["cells"] if one["request_id"]]
    found = bench.post("/api/evals/find", {"keys": keys + counted})["found"]
    assert sorted(found) == sorted(counted) and len(counted) == 1


def test_the_pinned_version_asked_for_by_name_is_the_same_run(bench: KbBench) -> None:
    plain, named = bench.start(), bench.start(kb="handbook@1")
    assert (named["run"], named["resumed"], named["kb"], named["system"]) == (plain["run"], True, None, "ask@1")
    other = bench.start(kb="2")
    assert (other["kb"], other["system"]) == ("handbook@2", "ask@1 with handbook@2")
    assert other["kb_sha256"] == bench.kb_sha256(2)


@pytest.mark.parametrize(
    ("kb", "status", "code"),
    [("other@1", 400, "kb_conflict"), ("handbook@9", 404, "kb_version_missing"), ("nope", 404, "kb_alias_missing")],
)
def test_a_version_that_the_prompt_cannot_read_is_refused(bench: KbBench, kb: str, status: int, code: str) -> None:
    assert bench.start(kb=kb, status=status)["error"]["code"] == code


def test_going_back_needs_no_evidence_and_no_sound_policy(serve: Serve) -> None:
    bench = KbBench(serve(settings=PROTECTED))
    for number in (1, 2):
        bench.post(
            "/api/kb/handbook/aliases",
            {"alias": "production", "version": number, "override": True, "reason": "by hand"},
        )
    gone = replace(RULE, policy="evals/policies/gone.yaml", policy_file=None)
    bench.served.control.settings = replace(PROTECTED, protect=(gone,))
    back = bench.post("/api/kb/handbook/rollback", {"alias": "production"})
    assert (back["aliases"], back["move"]["gate"]) == ({"production": 1}, "rollback")


def test_two_people_are_needed_where_the_rule_says_so(serve: Serve) -> None:
    served = serve(settings=replace(PROTECTED, protect=(replace(RULE, approvers=1),)), require_key=True)
    author, boss = served.key("developer"), served.key("approver", "other")
    bench = KbBench(served, key=author)
    bench.gate(bench.evaluated(), object="kb")
    said = bench.promote(1).json()["error"]
    assert "asks for 1 approval" in said["message"] and "headgate kb approve handbook@1" in said["hint"]
    bench.post("/api/kb/handbook/approve", {"version": 1, "reason": "looks right"}, key=boss)
    assert bench.promote(1).json()["aliases"] == {"production": 1}


def test_the_page_obeys_the_rule_says_what_is_missing_and_links_the_receipt(bench: KbBench) -> None:
    before = bench.served.ask("GET", "/ui/kb/handbook?version=1").text
    assert "handbook@1 may not become production yet" in before
    assert "headgate eval gate answers --kb handbook@1" in before
    token = re.search(r'name="csrf" value="([^"]+)"', before)
    assert token is not None
    form = {"csrf": token[1], "alias": "production", "version": "1"}
    refused = bench.served.ask("POST", "/ui/kb/handbook/aliases", form=form)
    assert refused.status_code == 403 and "asks for a passing receipt" in refused.text
    receipt = bench.gate(bench.evaluated(), object="kb")["receipts"][1]["receipt"]
    link = f'<a href="/api/receipts/{receipt}">'
    ready = bench.served.ask("GET", "/ui/kb/handbook?version=1").text
    assert "handbook@1 may become production." in ready and link in ready
    assert bench.served.ask("POST", "/ui/kb/handbook/aliases", form=form).status_code == 303
    after = bench.served.ask("GET", "/ui/kb/handbook").text
    assert link in after and "may become production" not in after


def test_a_release_moves_all_or_none(bench: KbBench) -> None:
    for path, version in (("kb/handbook", 1), ("prompts/ask", 1)):
        body = {"alias": "production", "version": version, "override": True, "reason": "first"}
        bench.post(f"/api/{path}/aliases", body)
    push_prompt(bench.served, ASK.replace("name: ask", "name: other").format(kb=1, system="Be fast."))
    release = {"version": 2, "alias": "production"}
    plan = bench.post("/api/kb/handbook/release", {**release, "step": "plan"})
    assert [(one["kind"], one["name"], one["before"], one["ref"]) for one in plan["steps"]] == [
        ("prompt", "ask", 1, None),
        ("kb", "handbook", 1, "handbook@2"),
    ], "a protected prompt without production is read by nobody's bare name"
    assert bench.served.get("/api/prompts/ask")["latest"] == 1, "a plan makes nothing"
    ready = bench.post("/api/kb/handbook/release", {**release, "step": "prepare"})
    assert ready["steps"][0]["ref"] == "ask@2" and ready["steps"][0]["suites"] == ["answers"]
    assert ready["steps"][1]["missing"] and not ready["moves"]
    run = bench.evaluated(2, pin=2)
    bench.gate(run, bench.evaluated(1), object="prompt", policy="starter")
    bench.post("/api/kb/handbook/release", {**release, "step": "move", "version": 2}, 200)
    aliases = [bench.served.get(f"/api/{path}")["aliases"] for path in ("prompts/ask", "kb/handbook")]
    assert [one["production"] for one in aliases] == [2, 2]


def test_a_release_that_lacks_one_receipt_moves_nothing(bench: KbBench) -> None:
    for path, version in (("kb/handbook", 2), ("prompts/ask", 1)):
        body = {"alias": "production", "version": version, "override": True, "reason": "first"}
        bench.post(f"/api/{path}/aliases", body)
    release = {"version": 2, "alias": "production"}
    bench.post("/api/kb/handbook/release", {**release, "step": "prepare"})
    refused = bench.post("/api/kb/handbook/release", {**release, "step": "move"}, 403)
    assert refused["error"]["code"] == "move_refused"
    assert "ask@2 may not become production" in refused["error"]["message"]
    bench.post("/api/kb/handbook/aliases", {"alias": "production", "version": 1, "override": True, "reason": "back"})
    bench.gate(bench.evaluated(2, pin=2), bench.evaluated(1), object="prompt", policy="standard")
    refused = bench.post("/api/kb/handbook/release", {**release, "step": "move"}, 403)
    aliases = [bench.served.get(f"/api/{path}")["aliases"]["production"] for path in ("prompts/ask", "kb/handbook")]
    assert aliases == [1, 1], refused


def test_a_suite_about_another_knowledge_base_is_not_run(bench: KbBench) -> None:
    text = SUITE.replace("target: ask", "target: {prompt: ask, kb: manual}")
    bench.suite = bench.post("/api/evals/suites", {"file": "evals/answers.yaml", "text": text})["sha256"]
    said = bench.start(status=400)["error"]
    assert said["code"] == "kb_conflict" and "about manual; ask@1 reads from handbook" in said["message"]
    text = SUITE.replace("target: ask", "target: {prompt: ask, kb: handbook@2}")
    refused = bench.post("/api/evals/suites", {"file": "evals/answers.yaml", "text": text}, 400)
    assert "evals/answers.yaml:2" in refused["error"]["message"] and "--kb" in refused["error"]["message"]

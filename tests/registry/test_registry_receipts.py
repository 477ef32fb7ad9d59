"""A protected alias moves on fresh receipts for exactly what it shall mean, and on nothing else; the refusal says what
is wrong with what there is."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from headgate.core.errors import Forbidden
from headgate.core.ids import now_us
from headgate.core.protection import ProtectRule
from headgate.registry import aliases, history, prompts, receipts, runs, suites
from headgate.registry.aliases import Guard, Wish
from headgate.registry.database import Database
from headgate.registry.prompts import PushedPrompt
from headgate.registry.receipts import Decision, Receipt
from headgate.registry.runs import Finish, Run

POLICY = "5" * 64
GUARD = Guard(rule=ProtectRule(policy="standard", approvers=0, where="headgate.toml line 31"), policy_sha256=POLICY)
ME = Wish(who="key_me", role="developer")
AUTHOR, OTHER = "key_author", "key_other"


def pushed(number: int, suites_named: tuple[str, ...] = ()) -> PushedPrompt:
    content = f'{{"model":"m","messages":[{{"role":"user","content":"{number}"}}]}}'
    return PushedPrompt(
        name="a",
        description="",
        suites=suites_named,
        content_json=content,
        sha256=sha256(content.encode()).hexdigest(),
    )


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(tmp_path)
    for number in (1, 2, 3):
        prompts.push(opened, [pushed(number)], who=AUTHOR)
    prompts.move_alias(opened, "a", "production", 1, ME, None)
    yield opened
    opened.close()


def give(database: Database, **changes: Any) -> Receipt:
    """A receipt for version 2 against version 1, unless told."""
    version, before = prompts.get_version(database, "a", 2), prompts.get_version(database, "a", 1)
    at = changes.get("issued_at_us", now_us())
    count = len(receipts.list_receipts(database))
    decision = Decision(
        id=f"gate_{count}",
        at_us=at,
        candidate_run="run_1",
        candidate_system="a@2",
        baseline_run="run_0",
        baseline_system="a@1",
        alias="production",
        suite="quality",
        suite_sha256="7" * 64,
        dataset="cases",
        dataset_sha256="8" * 64,
        policy="standard",
        policy_sha256=POLICY,
        verdict="pass",
        grade="B",
        attempt=1,
        detail={},
        who="key_me",
    )
    receipt = Receipt(
        **{
            "id": f"rcpt_{count}",
            "decision": decision.id,
            "kind": "prompt",
            "object": "a",
            "number": 2,
            "sha256": version.sha256,
            "alias": "production",
            "policy": "standard",
            "policy_sha256": POLICY,
            "suite": "quality",
            "suite_sha256": "7" * 64,
            "dataset": "cases",
            "dataset_sha256": "8" * 64,
            "judge_cards": (),
            "baseline_sha256": before.sha256,
            "result_sha256": "9" * 64,
            "grade": "B",
            "issued_at_us": at,
            "expires_at_us": None,
            "who": "key_me",
            **changes,
        }
    )
    receipts.store(database, decision, [receipt])
    return receipt


def refused(database: Database, guard: Guard = GUARD, wish: Wish = ME, number: int = 2) -> str:
    with pytest.raises(Forbidden) as raised:
        prompts.move_alias(database, "a", "production", number, wish, guard)
    assert raised.value.code == "move_refused"
    assert prompts.get_prompt(database, "a").aliases["production"] == 1
    return raised.value.sentence


def test_a_fresh_receipt_moves_the_alias_and_stays_in_the_move_and_the_history(database: Database) -> None:
    receipt = give(database)
    made = prompts.move_alias(database, "a", "production", 2, ME, GUARD)
    assert made is not None and (made.gate, made.receipt_id, made.policy) == ("receipt", receipt.id, "standard")
    assert history.entries(database, "prompt:a")[0].detail["receipt"] == receipt.id


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sha256": "f" * 64, "number": 9}, "is for other content, ffff… (a@9)."),
        ({"policy_sha256": "6" * 64}, "was given under another policy, an earlier text of standard."),
        ({"policy_sha256": "6" * 64, "policy": "starter"}, "was given under another policy, starter."),
        ({"baseline_sha256": "e" * 64}, "compared with content eeee…, and production means version 1 ("),
        ({"baseline_sha256": None}, "compared with nothing, and production means version 1 ("),
        ({"expires_at_us": 1_700_000_000_000_000}, "expired on 2023-11-14 22:13 UTC."),
    ],
)
def test_a_receipt_for_anything_else_is_refused_with_what_is_wrong(
    database: Database, changes: dict[str, Any], words: str
) -> None:
    receipt = give(database, **changes)
    sentence = refused(database)
    assert f"{receipt.id} {words}" in sentence
    assert "Run: headgate eval gate quality --prompt a@2 --against production" in sentence


def test_the_nearest_receipt_is_the_one_that_is_spoken_of(database: Database) -> None:
    give(database, sha256="f" * 64, policy_sha256="6" * 64)
    near = give(database, expires_at_us=1)
    give(database, sha256="e" * 64, baseline_sha256=None)
    assert f"{near.id} expired" in refused(database)


def test_every_suite_that_the_policy_or_the_version_names_needs_its_own(database: Database) -> None:
    prompts.push(database, [pushed(2, ("tone",))], who=AUTHOR)
    give(database)
    strict = replace(GUARD, suites=("quality",))
    sentence = refused(database, strict)
    assert "asks for a passing receipt of suite tone for content" in sentence
    assert "is of another suite, quality." in sentence and "headgate eval gate tone --prompt a@2" in sentence
    give(database, suite="tone")
    made = prompts.move_alias(database, "a", "production", 2, ME, strict)
    assert made is not None and made.receipt_id == "rcpt_0,rcpt_1"


def test_the_refusal_tells_what_the_suite_took_the_last_time(database: Database) -> None:
    suites.store(database, name="quality", content_sha256="7" * 64, text="x", file="f", prompt="a", who="key_me")
    run = Run(
        id="run_1", kind="eval", name="run_1", system="a@1", suite="quality", judges={}, cells=40, totals={},
        scorers={}, who="key_me", created_at_us=1,
    )  # fmt: skip
    runs.create(database, run)
    totals = {"cells": 40, "asks": 20, "full_cost_usd": "0.0712"}
    done = Finish(
        status="complete", stopped=None, totals=totals, scorers={}, result_sha256="9" * 64, cells=(), results=()
    )
    runs.finish(database, run, done)
    content = prompts.get_version(database, "a", 2).sha256[:4]
    assert refused(database) == (
        "Refused: a@2 may not become production. Policy standard (headgate.toml line 31) asks for a passing receipt "
        f"for content {content}…; none exists. Run: headgate eval gate quality --prompt a@2 --against production "
        "(60 calls, about $0.07)"
    )


@pytest.mark.parametrize("who", ["local", AUTHOR])
def test_the_author_and_nobody_in_particular_approve_nothing(database: Database, who: str) -> None:
    give(database)
    two = replace(GUARD, approvers=1)
    wish = Wish(who=who, role="approver", reason="mine")
    with pytest.raises(Forbidden):
        prompts.approve(database, "a", "production", 2, wish)
    assert "asks for 1 approval by someone other than the author; there is none." in refused(database, two, wish)


def test_a_second_person_approves_one_content_for_one_alias(database: Database) -> None:
    two = replace(GUARD, approvers=1)
    give(database)
    prompts.approve(database, "a", "candidate", 2, Wish(who=OTHER, role="approver", reason="for the other alias"))
    prompts.approve(database, "a", "production", 3, Wish(who=OTHER, role="approver", reason="for another content"))
    refused(database, two)
    prompts.approve(database, "a", "production", 2, Wish(who=OTHER, role="approver", reason="looks right"))
    assert prompts.move_alias(database, "a", "production", 2, ME, two) is not None
    assert history.entries(database, "prompt:a")[0].detail["approved_by"] == [OTHER]


def test_a_mover_who_may_approve_is_the_second_person(database: Database) -> None:
    give(database)
    mover = Wish(who=OTHER, role="approver")
    assert prompts.move_alias(database, "a", "production", 2, mover, replace(GUARD, approvers=1)) is not None


def test_an_approval_without_evidence_moves_nothing(database: Database) -> None:
    prompts.approve(database, "a", "production", 2, Wish(who=OTHER, role="approver", reason="trust me"))
    assert "none exists" in refused(database, replace(GUARD, approvers=1))


def test_the_way_back_needs_no_receipt(database: Database) -> None:
    give(database)
    prompts.move_alias(database, "a", "production", 2, ME, GUARD)
    assert prompts.rollback(database, "a", "production", ME, GUARD).gate == "rollback"
    assert aliases.newest_seq(database) == 3


@pytest.mark.parametrize("table", ["receipt", "gate_decision"])
def test_receipts_and_decisions_cannot_be_changed_or_removed(database: Database, table: str) -> None:
    give(database)
    for statement in (f"UPDATE {table} SET grade = 'A'", f"DELETE FROM {table}"):
        with pytest.raises(sqlite3.IntegrityError), database.write() as connection:
            connection.execute(statement)


def test_every_look_at_a_dataset_is_counted(database: Database) -> None:
    assert receipts.attempts(database, "8" * 64) == 0
    give(database, issued_at_us=1)
    give(database, issued_at_us=2)
    assert receipts.attempts(database, "8" * 64) == 2

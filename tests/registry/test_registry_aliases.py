"""Aliases: every move kept, gated by the server's rule, undone step by step, answered as of any time."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core import ids
from headgate.core.errors import Forbidden, MalformedRequest, NotFound
from headgate.core.protection import ProtectRule
from headgate.registry import aliases, history, prompts
from headgate.registry.aliases import Guard, Wish
from headgate.registry.database import Database
from headgate.snapshot import Role
from support.prompt_files import pushed

ME = Wish(who="key_me", role="developer", reason="because")
RULE = Guard(rule=ProtectRule(policy="standard", approvers=0, where="headgate.toml line 31"), policy_sha256="5" * 64)
TWO_PEOPLE = Guard(
    rule=ProtectRule(policy="strict", approvers=1, where="headgate.toml line 31"), policy_sha256="6" * 64, approvers=1
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database.open(tmp_path)
    for number in range(1, 6):
        prompts.push(database, [pushed("a", f"text {number}")], who="key_author")
    yield database
    database.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets the time that moves are made at."""

    def at(now_us: int) -> None:
        monkeypatch.setattr(aliases, "now_us", lambda: now_us)

    return at


def overriding(role: Role = "approver", who: str = "key_boss", reason: str | None = "it burns") -> Wish:
    return Wish(who=who, role=role, reason=reason, override=True)


def test_a_move_without_a_rule_is_ungated_and_noted_everywhere(database: Database) -> None:
    made = prompts.move_alias(database, "a", "production", 3, ME, None)
    assert made is not None
    assert (made.from_number, made.to_number, made.gate, made.action, made.who, made.reason) == (
        None, 3, "ungated", "move", "key_me", "because",
    )  # fmt: skip
    assert prompts.get_prompt(database, "a").aliases == {"production": 3}
    noted = history.entries(database, "prompt:a")[0]
    assert (noted.action, noted.who, noted.reason, noted.at_us) == ("alias.move", "key_me", "because", made.at_us)
    assert noted.detail == {"alias": "production", "from": None, "to": 3, "gate": "ungated", "sha256": made.sha256}
    assert prompts.move_alias(database, "a", "production", "3", ME, None) is None
    assert prompts.moves(database, "a") == [made]
    assert aliases.moves_after(database, 0) == [made] and aliases.newest_seq(database) == 1


def test_a_covered_move_is_refused_with_the_rule_the_content_and_the_way_on(database: Database) -> None:
    with pytest.raises(Forbidden) as raised:
        prompts.move_alias(database, "a", "production", 2, ME, RULE)
    content = prompts.get_version(database, "a", 2).sha256[:4]
    assert raised.value.code == "move_refused"
    assert raised.value.sentence == (
        "Refused: a@2 may not become production. Policy standard (headgate.toml line 31) asks for a passing receipt "
        f"for content {content}…; none exists. Write a suite and run its gate: "
        "headgate eval init a --from-log 25"
    )
    assert prompts.get_prompt(database, "a").aliases == {}
    assert history.entries(database, "prompt:a")[0].action == "prompt.push"


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (overriding("developer"), "The role developer may not override that."),
        (overriding("app"), "The role app may not override that."),
        (overriding(reason=None), "An override needs a reason."),
        (overriding(reason="  "), "An override needs a reason."),
    ],
)
def test_an_override_needs_an_approver_and_a_reason(database: Database, wish: Wish, words: str) -> None:
    with pytest.raises(Forbidden) as raised:
        prompts.move_alias(database, "a", "production", 2, wish, RULE)
    assert raised.value.code == "move_refused" and words in raised.value.sentence
    assert prompts.get_prompt(database, "a").aliases == {}


def test_an_override_is_kept_with_its_policy_and_reason(database: Database) -> None:
    made = prompts.move_alias(database, "a", "production", 2, overriding(), RULE)
    assert made is not None
    assert (made.gate, made.policy, made.role, made.reason) == ("override", "standard", "approver", "it burns")
    assert history.entries(database, "prompt:a")[0].detail["gate"] == "override"


@pytest.mark.parametrize(("who", "words"), [("key_author", "pushed the version"), ("local", "no key")])
def test_where_two_people_are_asked_for_the_author_may_not_override(database: Database, who: str, words: str) -> None:
    with pytest.raises(Forbidden, match=words):
        prompts.move_alias(database, "a", "production", 2, overriding("admin", who), TWO_PEOPLE)
    assert prompts.move_alias(database, "a", "production", 2, overriding("admin"), TWO_PEOPLE) is not None


@pytest.mark.parametrize("alias", ["latest", "", "7", "A", "a b", "a@b", "a/b", "x" * 65, "a\n"])
def test_a_name_that_is_no_alias_is_refused(database: Database, alias: str) -> None:
    with pytest.raises(MalformedRequest):
        prompts.move_alias(database, "a", alias, 1, ME, None)


def test_a_removed_alias_is_gone_and_its_moves_stay(database: Database) -> None:
    prompts.move_alias(database, "a", "candidate", 1, ME, None)
    made = prompts.remove_alias(database, "a", "candidate", ME, None)
    assert (made.from_number, made.to_number, made.action) == (1, None, "remove")
    assert prompts.get_prompt(database, "a").aliases == {}
    with pytest.raises(NotFound, match="has no alias"):
        prompts.remove_alias(database, "a", "candidate", ME, None)
    assert [move.to_number for move in prompts.moves(database, "a")] == [None, 1]


def test_a_protected_alias_is_removed_by_an_approver_only(database: Database) -> None:
    prompts.move_alias(database, "a", "production", 1, ME, None)
    with pytest.raises(Forbidden, match=r"Refused: a@production may not be removed\. Policy standard"):
        prompts.remove_alias(database, "a", "production", ME, RULE)
    assert prompts.remove_alias(database, "a", "production", overriding(), RULE).gate == "override"


def test_each_rollback_goes_one_step_further_back(database: Database) -> None:
    for number in (1, 2, 1, 3):
        prompts.move_alias(database, "a", "production", number, ME, None)
    went = [prompts.rollback(database, "a", "production", ME, None).to_number for _ in range(3)]
    assert went == [1, 2, 1]
    with pytest.raises(NotFound, match="no earlier version"):
        prompts.rollback(database, "a", "production", ME, None)
    prompts.move_alias(database, "a", "production", 5, ME, None)
    assert prompts.rollback(database, "a", "production", ME, None).to_number == 1


def test_a_rollback_undoes_a_removal_first(database: Database) -> None:
    for number in (1, 2):
        prompts.move_alias(database, "a", "production", number, ME, None)
    prompts.remove_alias(database, "a", "production", ME, None)
    assert prompts.rollback(database, "a", "production", ME, None).to_number == 2
    assert prompts.rollback(database, "a", "production", ME, None).to_number == 1


def test_a_rollback_of_a_protected_alias_needs_no_evidence_and_says_so(database: Database) -> None:
    for number in (1, 2):
        prompts.move_alias(database, "a", "production", number, overriding(), RULE)
    made = prompts.rollback(database, "a", "production", ME, RULE)
    assert (made.gate, made.action, made.to_number) == ("rollback", "rollback", 1)


def test_a_rollback_to_a_version_archived_meanwhile_is_refused(database: Database) -> None:
    for number in (1, 2):
        prompts.move_alias(database, "a", "production", number, ME, None)
    prompts.archive(database, "a", 1, who="key_me")
    with pytest.raises(MalformedRequest, match="a@1 is archived"):
        prompts.rollback(database, "a", "production", ME, None)


def test_what_was_in_force_is_answered_for_any_time(database: Database, clock: Callable[[int], None]) -> None:
    start = ids.now_us() + 10_000_000
    for second, number in enumerate((1, 2, 3)):
        clock(start + second * 1_000_000)
        prompts.move_alias(database, "a", "production", number, ME, None)
    clock(start + 3_000_000)
    prompts.remove_alias(database, "a", "production", ME, None)
    offsets = (-1, 0, 999_999, 1_000_000, 2_500_000)
    found = [prompts.get_prompt(database, "a", start + at).aliases.get("production") for at in offsets]
    assert found == [None, 1, 1, 2, 3]
    assert prompts.get_prompt(database, "a", start + 3_000_000).aliases == {}
    assert prompts.get_version(database, "a", "production", start + 1_500_000).number == 2
    assert [move.to_number for move in prompts.moves(database, "a", start + 1_500_000)] == [2, 1]
    with pytest.raises(NotFound, match="no prompt .* at that time"):
        prompts.get_prompt(database, "a", 1)


def test_a_clock_put_back_does_not_change_what_was_in_force(database: Database, clock: Callable[[int], None]) -> None:
    later = ids.now_us() + 3_600_000_000
    clock(later)
    prompts.move_alias(database, "a", "production", 1, ME, None)
    clock(later - 1_800_000_000)
    made = prompts.move_alias(database, "a", "production", 2, ME, None)
    assert made is not None and made.at_us == later
    assert prompts.get_prompt(database, "a", later - 1).aliases == {}
    assert prompts.get_prompt(database, "a", later).aliases == {"production": 2}


def test_moves_can_be_neither_changed_nor_removed(database: Database) -> None:
    prompts.move_alias(database, "a", "production", 1, ME, None)
    for sql in ("UPDATE alias_move SET gate = 'receipt'", "DELETE FROM alias_move"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"), database.write() as connection:
            connection.execute(sql)


def test_an_object_has_a_bounded_number_of_aliases(database: Database) -> None:
    for number in range(aliases.MAX_ALIASES):
        prompts.move_alias(database, "a", f"a{number}", 1, ME, None)
    with pytest.raises(MalformedRequest, match="has 100 aliases"):
        prompts.move_alias(database, "a", "one-more", 1, ME, None)
    assert prompts.move_alias(database, "a", "a0", 2, ME, None) is not None


STEPS = st.lists(
    st.tuples(st.sampled_from(["move", "remove", "rollback"]), st.sampled_from(["x", "y"]), st.integers(1, 5)),
    max_size=25,
)


@settings(max_examples=30, deadline=None)
@given(STEPS)
def test_where_aliases_stand_is_always_what_their_moves_say(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, int]]
) -> None:
    database = Database.open(tmp_path_factory.mktemp("home"))
    prompts.push(database, [pushed("a", "0")], who="k")
    for number in range(1, 5):
        prompts.push(database, [pushed("a", str(number))], who="k")
    for action, alias, number in steps:
        try:
            if action == "move":
                prompts.move_alias(database, "a", alias, number, ME, None)
            elif action == "remove":
                prompts.remove_alias(database, "a", alias, ME, None)
            else:
                prompts.rollback(database, "a", alias, ME, None)
        except NotFound:
            pass
    made = list(reversed(prompts.moves(database, "a")))
    replayed: dict[str, int | None] = {}
    for move in made:
        assert move.from_number == replayed.get(move.alias)
        replayed[move.alias] = move.to_number
    standing = {alias: number for alias, number in replayed.items() if number is not None}
    assert prompts.get_prompt(database, "a").aliases == standing
    assert prompts.get_prompt(database, "a", ids.now_us() + 1).aliases == standing
    assert [move.seq for move in made] == list(range(1, len(made) + 1))
    assert history.verify_history(database).fault is None
    database.close()

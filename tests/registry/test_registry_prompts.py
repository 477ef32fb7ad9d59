"""Prompts in the registry: same content, same version; nothing half-pushed; nothing ever rewritten."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from headgate.core.errors import MalformedRequest, NotFound
from headgate.core.settings import Protect, Settings
from headgate.registry import history, prompts
from headgate.registry.aliases import Wish
from headgate.registry.database import Database
from headgate.registry.prompts import push
from support.prompt_files import pushed

ME = Wish(who="key_me", role="developer", reason="why not")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database.open(tmp_path)
    yield database
    database.close()


def test_versions_count_from_one_per_prompt_and_the_same_content_is_the_same_version(database: Database) -> None:
    first = push(database, [pushed("a", "one"), pushed("b", "one")], who="key_me")
    assert [(done.name, done.number, done.is_new, done.previous_number) for done in first] == [
        ("a", 1, True, None),
        ("b", 1, True, None),
    ]
    (second,) = push(database, [pushed("a", "two")], who="key_me")
    assert (second.number, second.is_new, second.previous_number, second.latest) == (2, True, 1, 2)
    (again,) = push(database, [pushed("a", "one")], who="key_me")
    assert (again.number, again.is_new, again.previous_number, again.latest) == (1, False, 2, 2)
    assert [version.number for version in prompts.versions(database, "a")] == [2, 1]


def test_a_version_keeps_who_pushed_it_from_where_and_why(database: Database) -> None:
    push(database, [pushed("a")], who="key_me", message="softer", git_commit="3f9a01", author="Ada <ada@example.org>")
    version = prompts.get_version(database, "a", 1)
    assert (version.who, version.message, version.git_commit, version.author, version.model) == (
        "key_me",
        "softer",
        "3f9a01",
        "Ada <ada@example.org>",
        "gpt-5-mini",
    )
    assert '"Say hello"' in version.content_json
    (noted,) = history.entries(database, "prompt:a")
    assert (noted.action, noted.reason, noted.detail["version"]) == ("prompt.push", "softer", 1)


def test_a_push_is_stored_whole_or_not_at_all(database: Database) -> None:
    with pytest.raises(MalformedRequest, match='prompt name "B!" is not allowed'):
        push(database, [pushed("a"), pushed("B!")], who="key_me")
    with pytest.raises(MalformedRequest, match="twice"):
        push(database, [pushed("a"), pushed("a", "other")], who="key_me")
    with pytest.raises(MalformedRequest, match="0 prompts"):
        push(database, [], who="key_me")
    big = [pushed(f"p{number}", str(number) * 500_000) for number in range(10)]
    for start in range(7):
        push(database, [pushed(f"{file.name}-{start}", file.content_json[:480_000]) for file in big[:9]], who="key_me")
    with pytest.raises(MalformedRequest, match="at most 33554432 are served"):
        push(database, big, who="key_me")
    assert "p0" not in [prompt.name for prompt in prompts.list_prompts(database)]


def test_a_content_that_is_too_large_or_not_its_hash_is_refused(database: Database) -> None:
    with pytest.raises(MalformedRequest, match="at most 524288 are kept"):
        push(database, [pushed("a", "x" * 600_000)], who="key_me")
    with pytest.raises(ValueError, match="hash"):
        push(database, [replace(pushed("a"), sha256="0" * 64)], who="key_me")


@pytest.mark.parametrize(
    "name", ["", "A", "a b", "-a", "a//b", "a/", "/a", "a/../b", "é", "a/versions", "a\n", "a" * 129]
)
def test_a_name_that_could_not_be_called_is_refused(database: Database, name: str) -> None:
    with pytest.raises(MalformedRequest):
        push(database, [pushed(name)], who="key_me")


@pytest.mark.parametrize("name", ["a", "0a", "support-answer", "team/support.v2_b", "versions", "push"])
def test_a_name_that_can_be_called_is_taken(database: Database, name: str) -> None:
    push(database, [pushed(name)], who="key_me")
    assert prompts.get_prompt(database, name).latest == 1


def test_the_newest_push_decides_description_and_suites_but_no_version(database: Database) -> None:
    push(database, [pushed("a", suites=("old",))], who="key_me")
    (again,) = push(database, [pushed("a", suites=("new", "more"))], who="key_me")
    assert not again.is_new
    assert prompts.get_version(database, "a", 1).suites == ("new", "more")
    assert history.entries(database, "a")[0].detail == {"version": 1, "suites": ["new", "more"], "before": ["old"]}


def test_a_version_can_be_neither_changed_nor_removed(database: Database) -> None:
    push(database, [pushed("a")], who="key_me")
    for sql in ("UPDATE prompt_version SET content = '{}'", "UPDATE prompt_version SET number = 2"):
        with pytest.raises(sqlite3.IntegrityError, match="immutable"), database.write() as connection:
            connection.execute(sql)
    with pytest.raises(sqlite3.IntegrityError, match="never removed"), database.write() as connection:
        connection.execute("DELETE FROM prompt_version")


def test_an_archived_version_is_not_served_but_still_readable(database: Database) -> None:
    for text in ("one", "two"):
        push(database, [pushed("a", text)], who="key_me")
    archived = prompts.archive(database, "a", 2, who="key_me", reason="rude")
    assert archived.is_archived()
    entry = prompts.served(database, Settings())["a"]
    assert (entry.latest, list(entry.versions), entry.archived) == (1, [1], (2,))
    assert "two" in prompts.get_version(database, "a", 2).content_json
    (again,) = push(database, [pushed("a", "two")], who="key_me")
    assert (again.number, again.is_archived, again.latest) == (2, True, 1)
    prompts.archive(database, "a", 2, who="key_me", archived=False)
    assert prompts.served(database, Settings())["a"].latest == 2
    actions = [entry.action for entry in history.entries(database, "a")]
    assert actions == ["prompt.unarchive", "prompt.archive", "prompt.push", "prompt.push"]


def test_a_version_that_an_alias_means_cannot_be_archived_nor_an_archived_one_become_an_alias(
    database: Database,
) -> None:
    for text in ("one", "two"):
        push(database, [pushed("a", text)], who="key_me")
    prompts.move_alias(database, "a", "production", 1, ME, None)
    with pytest.raises(MalformedRequest, match="a@1 is production and cannot be archived"):
        prompts.archive(database, "a", 1, who="key_me")
    prompts.archive(database, "a", 2, who="key_me")
    with pytest.raises(MalformedRequest, match="a@2 is archived"):
        prompts.move_alias(database, "a", "production", 2, ME, None)


def test_the_snapshot_gets_every_prompt_with_its_aliases_and_protection(database: Database) -> None:
    push(database, [pushed("a"), pushed("b")], who="key_me")
    prompts.move_alias(database, "a", "candidate", "latest", ME, None)
    entries = prompts.served(database, Settings(protect=(Protect(kind="prompt", name="a*"),)))
    assert (entries["a"].aliases, entries["a"].protected) == ({"candidate": 1}, True)
    assert (entries["b"].aliases, entries["b"].protected) == ({}, False)
    content = entries["b"].versions[1]
    assert content.content_json == pushed("b").content_json and content.sha256 == pushed("b").sha256


def test_a_reference_that_means_nothing_names_what_there_is(database: Database) -> None:
    for number in range(5):
        push(database, [pushed("support-answer", str(number))], who="key_me")
    with pytest.raises(NotFound, match=r'There is no prompt "suport-answer"\. Nearest: support-answer\.'):
        prompts.get_prompt(database, "suport-answer")
    with pytest.raises(NotFound, match=r"has no version 9\. Aliases: none; versions: 1-5\."):
        prompts.get_version(database, "support-answer", "9")
    with pytest.raises(NotFound, match='no alias "production"'):
        prompts.get_version(database, "support-answer", "production")
    for hostile in ("\ud800", "x" * 100_000, "a\x00b"):
        with pytest.raises(NotFound):
            prompts.get_version(database, "support-answer", hostile)
        with pytest.raises(NotFound):
            prompts.get_prompt(database, hostile)

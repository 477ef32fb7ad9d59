"""Knowledge bases in the registry: immutable numbers, aliases under the server's rule, answers for any time."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from headgate.core.errors import Forbidden, MalformedRequest, NotFound
from headgate.core.ids import now_us
from headgate.core.protection import ProtectRule
from headgate.core.settings import Protect, Settings
from headgate.registry import history, kbs
from headgate.registry.aliases import Wish
from headgate.registry.database import Database
from headgate.registry.kbs import NewKbVersion
from headgate.registry.targets import Guard

ME = Wish(who="key_1", role="developer")
RULE = Guard(rule=ProtectRule(policy="standard", approvers=0, where="headgate.toml line 3"), policy_sha256="5" * 64)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(tmp_path)
    yield opened
    opened.close()


def new(number: int, name: str = "handbook", **more: object) -> NewKbVersion:
    made = NewKbVersion(
        name=name,
        description="What we know.",
        sha256=f"{number:064d}",
        content_sha256=f"{number + 1000:064d}",
        embedder="lexical",
        dimensions=384,
        embed_asks=None,
        documents=2,
        chunks=5,
    )
    return replace(made, **more)  # type: ignore[arg-type]


def add(database: Database, *numbers: int) -> None:
    for number in numbers:
        kbs.add_version(database, new(number), who="key_1")


def test_versions_count_from_one_know_their_parent_and_the_same_directory_is_the_same_version(
    database: Database,
) -> None:
    first, is_new = kbs.add_version(database, new(1, git_commit="3f9a", message="first"), who="key_1")
    assert (first.ref, is_new, first.parent, first.git_commit) == ("handbook@1", True, None, "3f9a")
    second, _ = kbs.add_version(database, new(2), who="key_2")
    assert (second.number, second.parent, second.who) == (2, 1, "key_2")
    again, is_new = kbs.add_version(database, new(1), who="key_2")
    assert (again.number, is_new) == (1, False)
    assert [entry.action for entry in history.entries(database, "kb:handbook")] == ["kb.push", "kb.push"]


def test_a_version_can_neither_be_changed_nor_removed(database: Database) -> None:
    add(database, 1)
    for sql in ("UPDATE kb_version SET chunks = 9", "DELETE FROM kb_version"):
        with pytest.raises(sqlite3.IntegrityError), database.write() as connection:
            connection.execute(sql)


def test_aliases_move_under_the_rule_and_roll_back(database: Database) -> None:
    add(database, 1, 2)
    assert kbs.get_kb(database, "handbook").current(is_protected=False) == (2, "latest")
    assert kbs.get_kb(database, "handbook").current(is_protected=True) is None
    assert kbs.move_alias(database, "handbook", "production", 1, ME, None) is not None
    with pytest.raises(Forbidden) as refused:
        kbs.move_alias(database, "handbook", "production", 2, ME, RULE)
    assert refused.value.code == "move_refused" and "handbook@2 may not become production" in str(refused.value)
    approver = Wish(who="key_2", role="approver", reason="checked by hand", override=True)
    move = kbs.move_alias(database, "handbook", "production", "latest", approver, RULE)
    assert move is not None and (move.kind, move.to_number, move.gate) == ("kb", 2, "override")
    assert kbs.rollback(database, "handbook", "production", ME, RULE).to_number == 1
    kbs.remove_alias(database, "handbook", "production", ME, None)
    assert kbs.get_kb(database, "handbook").aliases == {}
    assert [one.action for one in kbs.moves(database, "handbook")] == ["remove", "rollback", "move", "move"]


def test_what_is_not_there_is_named_with_what_is(database: Database) -> None:
    add(database, 1)
    with pytest.raises(NotFound, match="Nearest: handbook"):
        kbs.get_kb(database, "handbok")
    with pytest.raises(NotFound, match="versions: 1") as missing:
        kbs.get_kb(database, "handbook").version(7)
    assert missing.value.code == "kb_version_missing"
    with pytest.raises(NotFound) as missing:
        kbs.get_kb(database, "handbook").version("nobody")
    assert missing.value.code == "kb_alias_missing"
    for name in ("Big", "a/b", "push", "..", "x" * 129, ""):
        with pytest.raises(MalformedRequest):
            kbs.check_name(name)


def test_the_past_is_answered_as_it_was(database: Database) -> None:
    add(database, 1)
    kbs.move_alias(database, "handbook", "production", 1, ME, None)
    before_us = now_us()
    add(database, 2)
    kbs.move_alias(database, "handbook", "production", 2, ME, None)
    then = kbs.get_kb(database, "handbook", before_us)
    assert (then.latest, dict(then.aliases)) == (1, {"production": 1})
    assert kbs.list_kbs(database, 1) == []


def test_the_snapshot_has_every_version_and_whether_production_is_protected(database: Database) -> None:
    add(database, 1, 2)
    kbs.move_alias(database, "handbook", "candidate", 1, ME, None)
    open_entry = kbs.served(database, Settings())["handbook"]
    assert open_entry.resolve().number == 2 and open_entry.resolve(alias="candidate").number == 1
    closed = kbs.served(database, Settings(protect=(Protect(kind="kb"),)))["handbook"]
    with pytest.raises(NotFound, match='no alias "production"'):
        closed.resolve()
    assert closed.resolve(number=2).sha256 == f"{2:064d}"

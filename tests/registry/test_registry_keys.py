"""Headgate keys: shown once, kept as digests, ended when told."""

import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from headgate.core.errors import MalformedRequest, NotFound
from headgate.registry.database import Database
from headgate.registry.history import entries
from headgate.registry.keys import (
    FORGET_AFTER_US,
    create_key,
    digest,
    find_key,
    keys_by_digest,
    list_keys,
    new_plaintext,
    revoke,
    rotate,
)

T0 = 1_795_000_000_000_000
S = 1_000_000


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database.open(tmp_path)
    yield database
    database.close()


def test_a_key_is_random_long_and_told_apart(database: Database) -> None:
    found = {new_plaintext() for _ in range(100)}
    assert len(found) == 100
    assert all(re.fullmatch(r"hg_[A-Za-z0-9_-]{43}", key) for key in found)
    entry, plaintext = create_key(database, name="my-app")
    assert re.fullmatch(r"key_[0-9a-z]{8}", entry.id)
    assert digest(plaintext) == sha256(plaintext.encode()).hexdigest()


def test_a_created_key_has_what_was_asked_and_a_history(database: Database) -> None:
    entry, plaintext = create_key(
        database,
        name=" my-app ",
        role="developer",
        project="shop",
        models=["gpt-*", "fast"],
        expires_in_s=90 * 86400,
        by="key_admin",
        reason="for the shop",
        at_us=T0,
    )
    assert (entry.name, entry.role, entry.project, entry.models) == ("my-app", "developer", "shop", ("gpt-*", "fast"))
    assert entry.expires_at_us == T0 + 90 * 86400 * S
    assert keys_by_digest(database, T0) == {digest(plaintext): entry}
    assert list_keys(database) == [entry]
    (noted,) = entries(database, entry.id)
    assert (noted.who, noted.action, noted.object, noted.reason) == (
        "key_admin",
        "key.create",
        f"key:{entry.id}",
        "for the shop",
    )
    assert noted.detail["role"] == "developer"


def test_keys_are_nowhere_in_clear(tmp_path: Path) -> None:
    database = Database.open(tmp_path)
    plaintexts = [create_key(database, name=f"k{number}")[1] for number in range(20)]
    plaintexts += [rotate(database, f"k{number}", reason=f"was {plaintexts[number]}")[1] for number in range(5)]
    revoke(database, "k7", reason=plaintexts[7])

    def assert_clean() -> None:
        for path in tmp_path.iterdir():
            data = path.read_bytes()
            for plaintext in plaintexts:
                assert plaintext.encode() not in data and plaintext.removeprefix("hg_").encode() not in data, path

    assert (tmp_path / "control.db-wal").stat().st_size > 0
    assert_clean()
    database.close()
    assert_clean()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"name": ""}, 'The key name "" is not allowed.'),
        ({"name": "a\nb"}, 'The key name "a?b" is not allowed.'),
        ({"name": "x" * 101}, "is not allowed. Use 1 to 100 printable signs."),
        ({"name": "hg_secretsecret"}, 'The key name "hg_…" looks like a key or an id.'),
        ({"name": "key_12345678"}, "looks like a key or an id."),
        ({"role": "root"}, 'There is no role "root". Roles: app, developer, approver, admin.'),
        ({"project": "a b"}, 'The project name "a b" is not allowed.'),
        ({"models": ["a b"]}, 'The model glob "a b" is not allowed.'),
        ({"models": ["a"] * 101}, "101 model globs are too many."),
        ({"expires_in_s": 0}, "An expiry in 0 s is not allowed."),
        ({"expires_in_s": 1e12}, "is not allowed. Write a span such as 90d."),
    ],
)
def test_wrong_wishes_are_refused_with_what_is_allowed(database: Database, wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(MalformedRequest) as raised:
        create_key(database, **{"name": "fine", **wrong})
    assert words in raised.value.sentence
    assert list_keys(database) == []


def test_a_revoked_key_stays_revoked_and_listed(database: Database) -> None:
    entry, plaintext = create_key(database, name="a", at_us=T0)
    revoked = revoke(database, "a", by="key_admin", reason="lost", at_us=T0 + S)
    assert revoked.revoked_at_us == T0 + S
    assert revoke(database, entry.id, at_us=T0 + 9 * S) == revoked
    assert keys_by_digest(database, T0)[digest(plaintext)] == revoked
    assert not revoked.is_valid(T0 + S)
    assert [e.action for e in entries(database, entry.id)] == ["key.revoke", "key.create"]


def test_rotation_lets_the_old_key_go_on_for_the_overlap(database: Database) -> None:
    old, _ = create_key(database, name="a", role="developer", models=["m"], expires_in_s=1000, at_us=T0)
    new, plaintext = rotate(database, "a", overlap_s=60, at_us=T0 + 500 * S)
    assert (new.name, new.role, new.models, new.expires_at_us) == ("a", "developer", ("m",), T0 + 1500 * S)
    ended = find_key(database, old.id)
    assert (ended.expires_at_us, ended.revoked_at_us) == (T0 + 560 * S, None)
    assert keys_by_digest(database, T0)[digest(plaintext)] == new
    assert entries(database, new.id)[0].detail["rotated_from"] == old.id


def test_rotation_without_overlap_ends_the_old_key_at_once(database: Database) -> None:
    old, _ = create_key(database, name="a", at_us=T0)
    new, _ = rotate(database, old.id, at_us=T0 + S)
    assert find_key(database, old.id).revoked_at_us == T0 + S
    assert find_key(database, "a", T0 + S) == new
    assert new.expires_at_us is None


def test_an_overlap_never_lengthens_a_key(database: Database) -> None:
    old, _ = create_key(database, name="a", expires_in_s=10, at_us=T0)
    rotate(database, old.id, overlap_s=3600, at_us=T0 + S)
    assert find_key(database, old.id).expires_at_us == T0 + 10 * S


def test_an_expired_key_can_be_rotated_and_a_revoked_one_cannot(database: Database) -> None:
    create_key(database, name="a", expires_in_s=10, at_us=T0)
    assert rotate(database, "a", at_us=T0 + 100 * S)[0].expires_at_us == T0 + 110 * S
    old, _ = create_key(database, name="b", at_us=T0)
    revoke(database, "b", at_us=T0)
    with pytest.raises(MalformedRequest, match="is revoked and cannot be rotated"):
        rotate(database, old.id, at_us=T0 + S)
    with pytest.raises(MalformedRequest, match="overlap"):
        rotate(database, "a", overlap_s=-1)


def test_a_name_finds_its_only_valid_key(database: Database) -> None:
    first, _ = create_key(database, name="a", at_us=T0)
    revoke(database, "a", at_us=T0)
    assert find_key(database, "a", T0 + S).id == first.id
    second, _ = create_key(database, name="a", at_us=T0 + S)
    assert find_key(database, "a", T0 + S).id == second.id
    third, _ = create_key(database, name="a", at_us=T0 + 2 * S)
    with pytest.raises(MalformedRequest, match=f'2 keys are named "a": {second.id}, {third.id}.'):
        revoke(database, "a", at_us=T0 + 3 * S)


@pytest.mark.parametrize("wanted", ["none", "", "key_00000000", "x" * 10_000, "\ud800", "' OR 1=1 --"])
def test_an_unknown_key_is_told(database: Database, wanted: str) -> None:
    with pytest.raises(NotFound) as raised:
        revoke(database, wanted)
    assert "headgate key list" in raised.value.hint
    assert len(str(raised.value)) < 100


def test_a_key_pasted_for_a_name_is_not_repeated(database: Database) -> None:
    with pytest.raises(NotFound, match='There is no key "hg_…"'):
        revoke(database, "hg_C4n4ryC4n4ry")


def test_long_ended_keys_leave_the_snapshot(database: Database) -> None:
    create_key(database, name="revoked", at_us=T0)
    create_key(database, name="expired", expires_in_s=1, at_us=T0)
    create_key(database, name="valid", at_us=T0)
    revoke(database, "revoked", at_us=T0)
    assert len(keys_by_digest(database, T0 + FORGET_AFTER_US - S)) == 3
    later = keys_by_digest(database, T0 + FORGET_AFTER_US + 2 * S)
    assert [key.name for key in later.values()] == ["valid"]

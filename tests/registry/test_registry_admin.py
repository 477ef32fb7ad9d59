"""The first admin key: from the environment, or minted into a private file."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate.core.errors import ConfigurationError, HomeError
from headgate.registry.admin import ensure_admin_key
from headgate.registry.database import Database
from headgate.registry.keys import create_key, digest, find_key, keys_by_digest, list_keys, new_plaintext, revoke

T0 = 1_795_000_000_000_000


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database.open(tmp_path)
    yield database
    database.close()


def test_a_key_is_minted_once_into_a_private_file(database: Database, tmp_path: Path) -> None:
    path = ensure_admin_key(database, tmp_path)
    assert path == tmp_path / "admin.key"
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text()
    assert keys_by_digest(database)[digest(text.strip())].role == "admin"
    assert ensure_admin_key(database, tmp_path) == path
    assert path.read_text() == text
    assert len(list_keys(database)) == 1


def test_a_minted_key_that_was_never_stored_is_stored(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "admin.key"
    key = new_plaintext()
    path.write_text(key)
    path.chmod(0o600)
    assert ensure_admin_key(database, tmp_path) == path
    assert keys_by_digest(database)[digest(key)].name == "admin"


def test_nothing_is_minted_while_there_is_an_admin(database: Database, tmp_path: Path) -> None:
    create_key(database, name="me", role="admin")
    assert ensure_admin_key(database, tmp_path) is None
    assert not (tmp_path / "admin.key").exists()


def test_a_revoked_minted_key_is_replaced_when_no_admin_is_left(database: Database, tmp_path: Path) -> None:
    path = ensure_admin_key(database, tmp_path, at_us=T0)
    assert path is not None
    first = path.read_text()
    revoke(database, "admin", at_us=T0)
    assert ensure_admin_key(database, tmp_path, at_us=T0 + 1) == path
    assert path.read_text() != first
    assert [key.is_valid(T0 + 1) for key in list_keys(database)] == [False, True]


@pytest.mark.parametrize("content", ["", "hg_short", "not a key\n", "hg_" + "é" * 40])
def test_a_file_without_a_key_is_replaced(database: Database, tmp_path: Path, content: str) -> None:
    path = tmp_path / "admin.key"
    path.write_text(content)
    path.chmod(0o600)
    assert ensure_admin_key(database, tmp_path) == path
    assert digest(path.read_text().strip()) in keys_by_digest(database)


def test_a_file_open_to_others_is_refused(database: Database, tmp_path: Path) -> None:
    path = ensure_admin_key(database, tmp_path)
    assert path is not None
    path.chmod(0o644)
    with pytest.raises(HomeError, match=r"open to other users \(mode 0644\)"):
        ensure_admin_key(database, tmp_path)


def test_a_link_in_place_of_the_file_is_refused(database: Database, tmp_path: Path) -> None:
    (tmp_path / "admin.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HomeError, match="cannot be read"):
        ensure_admin_key(database, tmp_path)


def test_the_key_of_the_environment_is_admin_and_nothing_is_minted(database: Database, tmp_path: Path) -> None:
    key = new_plaintext()
    assert ensure_admin_key(database, tmp_path, key) is None
    assert ensure_admin_key(database, tmp_path, key) is None
    assert [entry.role for entry in list_keys(database)] == ["admin"]
    assert not (tmp_path / "admin.key").exists()


def test_another_key_in_the_environment_ends_the_former(database: Database, tmp_path: Path) -> None:
    first, second = new_plaintext(), new_plaintext()
    ensure_admin_key(database, tmp_path, first, at_us=T0)
    ensure_admin_key(database, tmp_path, second, at_us=T0 + 1)
    found = keys_by_digest(database, T0 + 1)
    assert not found[digest(first)].is_valid(T0 + 1)
    assert found[digest(second)].is_valid(T0 + 1)
    with pytest.raises(ConfigurationError, match=r"ended on 2026-11-18"):
        ensure_admin_key(database, tmp_path, first, at_us=T0 + 2)


@pytest.mark.parametrize(
    "key", ["admin", "hg_short", "hg_" + "a" * 40, "sk-" + "aB3" * 20, "hg_" + "abcdefgh ijklmnop" * 3]
)
def test_a_weak_key_in_the_environment_is_refused_and_not_repeated(
    database: Database, tmp_path: Path, key: str
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        ensure_admin_key(database, tmp_path, key)
    assert key not in raised.value.sentence
    assert "token_urlsafe" in raised.value.sentence
    assert list_keys(database) == []


def test_a_minted_key_can_be_found_by_its_name(database: Database, tmp_path: Path) -> None:
    ensure_admin_key(database, tmp_path)
    assert find_key(database, "admin").role == "admin"

"""The snapshot: published whole, read whole or not at all."""

import hashlib
import os
import random
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.errors import HomeError, NotFound
from headgate.core.settings import Log, Price, Protect, Route, Server, Settings, Target, Timeout, Upstream, load
from headgate.snapshot import (
    _HEAD,
    _MAGIC,
    _VERSION,
    KeyEntry,
    PromptEntry,
    PromptVersionEntry,
    Role,
    Snapshot,
    SnapshotReader,
    decode,
    encode,
    next_generation,
    previous_path,
    publish,
    snapshot_path,
    spans,
)

DEMO = load(demo=True, environ={})


def snapshot(generation: int, **keys: KeyEntry) -> Snapshot:
    return Snapshot(generation=generation, published_at_us=1, settings=DEMO, keys=keys)


NAMES = st.text(alphabet="abcz_-09", min_size=1, max_size=8)
TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12)
MONEY = st.none() | st.decimals(min_value=0, max_value=1000, places=6)
SECONDS = st.floats(min_value=0.01, max_value=1e5)
UPSTREAMS = st.builds(
    Upstream,
    name=NAMES,
    kind=st.sampled_from(["openai", "anthropic", "demo"]),
    base_url=TEXTS,
    provider=st.none() | NAMES,
    auth=st.sampled_from(["stored", "caller"]),
    api_key_env=st.none() | NAMES,
    headers=st.dictionaries(NAMES, TEXTS, max_size=2),
    timeout=st.builds(Timeout, connect_s=SECONDS, first_byte_s=SECONDS, between_bytes_s=SECONDS),
    allow_paths=st.lists(TEXTS, max_size=2).map(tuple),
)
SETTINGS = st.builds(
    Settings,
    server=st.builds(Server, port=st.integers(0, 65535), default_upstream=st.dictionaries(NAMES, NAMES, max_size=2)),
    log=st.builds(Log, body_days=st.integers(0, 400), max_disk_gb=SECONDS),
    upstreams=st.lists(UPSTREAMS, max_size=3).map(lambda found: {u.name: u for u in found}),
    routes=st.lists(
        st.builds(
            Route,
            model=TEXTS,
            targets=st.lists(st.builds(Target, upstream=NAMES, model=st.none() | TEXTS), max_size=2).map(tuple),
            fallback_on=st.lists(st.sampled_from(["connect", "timeout"]) | st.integers(400, 599), max_size=3).map(
                tuple
            ),
        ),
        max_size=3,
    ).map(tuple),
    prices=st.lists(
        st.builds(Price, model=TEXTS, from_date=st.none() | st.dates(), input_mtok=MONEY, output_mtok=MONEY), max_size=2
    ).map(tuple),
    protect=st.lists(st.builds(Protect, kind=st.sampled_from(["prompt", "kb", "model"]), name=TEXTS), max_size=2).map(
        tuple
    ),
    file=st.none() | TEXTS,
)
KEYS = st.dictionaries(
    st.text(alphabet="0123456789abcdef", min_size=64, max_size=64),
    st.builds(
        KeyEntry,
        id=NAMES,
        name=TEXTS,
        role=st.sampled_from(get_args(Role)),
        project=NAMES,
        models=st.lists(TEXTS, max_size=2).map(tuple),
        expires_at_us=st.none() | st.integers(0, 2**60),
        revoked_at_us=st.none() | st.integers(0, 2**60),
    ),
    max_size=3,
)
VERSIONS = st.lists(
    st.builds(PromptVersionEntry, number=st.integers(1, 2**31), sha256=NAMES, content_json=TEXTS), max_size=3
).map(lambda found: {version.number: version for version in found})
PROMPTS = st.dictionaries(
    NAMES,
    st.builds(
        PromptEntry,
        name=NAMES,
        aliases=st.dictionaries(NAMES, st.integers(1, 9), max_size=2),
        latest=st.none() | st.integers(1, 9),
        protected=st.booleans(),
        versions=VERSIONS,
        archived=st.lists(st.integers(1, 9), max_size=2).map(tuple),
    ),
    max_size=3,
)
SNAPSHOTS = st.builds(
    Snapshot,
    generation=st.integers(1, 2**63),
    published_at_us=st.integers(0, 2**60),
    settings=SETTINGS,
    keys=KEYS,
    prompts=PROMPTS,
)


@settings(max_examples=60, deadline=None)
@given(SNAPSHOTS)
def test_any_snapshot_comes_back_as_it_was(found: Snapshot) -> None:
    assert decode(encode(found)) == found


def test_dates_money_and_order_survive(tmp_path: Path) -> None:
    price = Price(model="*", from_date=date(2026, 1, 1), input_mtok=Decimal("0.1000000000001"))
    upstreams = {name: Upstream(name=name, kind="demo", base_url="unix:demo") for name in ("z", "a", "m")}
    publish(
        tmp_path,
        Snapshot(generation=1, published_at_us=5, settings=Settings(prices=(price,), upstreams=upstreams), keys={}),
    )
    found = SnapshotReader(tmp_path).load()
    assert found.settings.prices == (price,)
    assert list(found.settings.upstreams) == ["z", "a", "m"]


def test_no_flipped_byte_gives_a_wrong_snapshot() -> None:
    good = snapshot(7, d=KeyEntry(id="key_1", name="a", role="admin"))
    data = encode(good)
    chance = random.Random(4400)
    for _ in range(1000):
        damaged = bytearray(data)
        damaged[chance.randrange(len(data))] ^= chance.randrange(1, 256)
        with pytest.raises(ValueError, match=r"^it|^its"):
            decode(bytes(damaged))


def test_no_cut_or_lengthened_file_gives_a_snapshot() -> None:
    data = encode(snapshot(7))
    for length in range(len(data)):
        with pytest.raises(ValueError, match=r"^it"):
            decode(data[:length])
    with pytest.raises(ValueError, match="announced"):
        decode(data + b"\0")


def test_a_damaged_file_leaves_the_last_good_one_in_use(tmp_path: Path) -> None:
    publish(tmp_path, snapshot(1))
    reader = SnapshotReader(tmp_path)
    assert reader.load().generation == 1
    publish(tmp_path, snapshot(2))
    snapshot_path(tmp_path).write_bytes(b"garbage")
    assert reader.changed()
    assert reader.load().generation == 1
    assert reader.fault is not None and "current" in reader.fault
    assert not reader.changed()
    publish(tmp_path, snapshot(3))
    assert reader.changed()
    assert reader.load().generation == 3
    assert reader.fault is None


def test_a_cold_start_falls_back_to_the_previous_generation(tmp_path: Path) -> None:
    publish(tmp_path, snapshot(1))
    publish(tmp_path, snapshot(2))
    snapshot_path(tmp_path).write_bytes(b"")
    reader = SnapshotReader(tmp_path)
    assert reader.load().generation == 1
    assert reader.fault is not None and "ends after 0 bytes" in reader.fault


def test_two_bad_files_or_none_are_refused_with_both_reasons(tmp_path: Path) -> None:
    with pytest.raises(HomeError, match=r"current: there is no such file; .*previous: there is no such file"):
        SnapshotReader(tmp_path).load()
    publish(tmp_path, snapshot(1))
    publish(tmp_path, snapshot(2))
    snapshot_path(tmp_path).write_bytes(encode(snapshot(2))[:-1])
    previous_path(tmp_path).write_bytes(b"x" * 200)
    with pytest.raises(HomeError) as raised:
        SnapshotReader(tmp_path).load()
    assert "are announced" in str(raised.value) and "it is no snapshot" in str(raised.value)
    assert "headgate serve" in raised.value.hint


def test_a_vanished_file_leaves_the_last_good_one_in_use(tmp_path: Path) -> None:
    publish(tmp_path, snapshot(1))
    reader = SnapshotReader(tmp_path)
    reader.load()
    snapshot_path(tmp_path).unlink()
    assert reader.changed()
    assert reader.load().generation == 1


def test_a_damaged_file_never_displaces_a_good_previous_one(tmp_path: Path) -> None:
    publish(tmp_path, snapshot(1))
    publish(tmp_path, snapshot(2))
    snapshot_path(tmp_path).write_bytes(b"garbage")
    assert next_generation(tmp_path) == 2
    publish(tmp_path, snapshot(3))
    assert decode(previous_path(tmp_path).read_bytes()).generation == 1
    assert decode(snapshot_path(tmp_path).read_bytes()).generation == 3


def test_generations_only_increase(tmp_path: Path) -> None:
    assert next_generation(tmp_path) == 1
    publish(tmp_path, snapshot(4))
    for generation in (4, 3):
        with pytest.raises(HomeError, match=f"generation {generation} is not newer than the published 4"):
            publish(tmp_path, snapshot(generation))
    reader = SnapshotReader(tmp_path)
    reader.load()
    snapshot_path(tmp_path).write_bytes(encode(snapshot(2)))
    assert reader.load().generation == 4
    assert reader.fault is not None and "older" in reader.fault


def test_changed_is_told_by_a_stat_once_per_publication(tmp_path: Path) -> None:
    reader = SnapshotReader(tmp_path)
    assert not reader.changed()
    publish(tmp_path, snapshot(1))
    assert reader.changed()
    reader.load()
    assert not reader.changed()
    publish(tmp_path, snapshot(2))
    assert reader.changed()


def test_files_are_private_and_nothing_else_is_left(tmp_path: Path) -> None:
    for generation in (1, 2, 3):
        publish(tmp_path, snapshot(generation))
    found = sorted(tmp_path.glob("snapshot/*"))
    assert [path.name for path in found] == ["current", "previous"]
    assert {path.stat().st_mode & 0o777 for path in found} == {0o600}
    assert decode(previous_path(tmp_path).read_bytes()).generation == 2


def test_a_writer_killed_midway_leaves_the_published_one(tmp_path: Path) -> None:
    publish(tmp_path, snapshot(1))
    (tmp_path / "snapshot" / f"new.{os.getpid()}").write_bytes(b"half")
    (tmp_path / "snapshot" / f"old.{os.getpid()}").write_bytes(b"half")
    assert SnapshotReader(tmp_path).load().generation == 1
    publish(tmp_path, snapshot(2))
    assert SnapshotReader(tmp_path).load().generation == 2


def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "snapshot").write_bytes(b"a file where the directory should be")
    with pytest.raises(HomeError, match="cannot be written") as raised:
        publish(tmp_path, snapshot(1))
    assert "Workers go on" in raised.value.hint


def test_secrets_are_not_in_the_file(tmp_path: Path) -> None:
    environ = {"OPENAI_API_KEY": "sk-canary-canary", "HEADGATE_ADMIN_KEY": "hg_canary_canary"}
    file = tmp_path / "headgate.toml"
    file.write_text("")
    found = Snapshot(generation=1, published_at_us=1, settings=load(file, environ=environ), keys={})
    assert b"canary" not in encode(found)


def test_a_key_is_valid_until_it_expires_or_is_revoked() -> None:
    key = KeyEntry(id="key_1", name="a", role="approver", expires_at_us=100, revoked_at_us=50)
    assert [key.is_valid(at_us) for at_us in (0, 49, 50, 100)] == [True, True, False, False]
    assert [key.may(role) for role in ("app", "developer", "approver", "admin")] == [True, True, True, False]


def prompt(*numbers: int, **more: Any) -> PromptEntry:
    versions = {
        number: PromptVersionEntry(number=number, sha256=f"{number:064}", content_json="{}") for number in numbers
    }
    return PromptEntry(name="greet", latest=max(numbers, default=None), versions=versions, **more)


@pytest.mark.parametrize(
    ("entry", "number", "alias"),
    [
        (prompt(1, 2, 3, aliases={"production": 2}), 2, "production"),
        (prompt(1, 2, 3, aliases={"production": 2}, protected=True), 2, "production"),
        (prompt(1, 2, 3, aliases={"candidate": 2}), 3, "latest"),
    ],
)
def test_a_bare_name_means_production_or_the_latest_of_an_unprotected_prompt(
    entry: PromptEntry, number: int, alias: str
) -> None:
    found = entry.resolve()
    assert (found.name, found.version.number, found.alias) == ("greet", number, alias)


def test_a_reference_means_its_number_or_where_its_alias_stands() -> None:
    entry = prompt(1, 2, 3, aliases={"candidate": 1}, protected=True)
    assert (entry.resolve(number=2).version.number, entry.resolve(number=2).alias) == (2, None)
    assert (entry.resolve(alias="candidate").version.number, entry.resolve(alias="candidate").alias) == (1, "candidate")
    assert entry.resolve(alias="latest").version.number == 3


@pytest.mark.parametrize(
    ("entry", "asked", "code", "words"),
    [
        (prompt(1, protected=True), {}, "prompt_alias_missing", 'no alias "production"'),
        (prompt(1, protected=True), {}, "prompt_alias_missing", "headgate prompt promote greet@NUMBER"),
        (prompt(1), {"alias": "x"}, "prompt_alias_missing", "headgate prompt alias greet@NUMBER x"),
        (prompt(1, 3, archived=(2,)), {"number": 2}, "prompt_version_archived", "greet@2 is archived"),
        (prompt(1, 3), {"number": 9}, "prompt_version_missing", "versions: 1, 3."),
        (prompt(archived=(1, 2)), {}, "prompt_version_archived", "Every version of greet is archived"),
        (prompt(1), {"alias": "\n" * 5000}, "prompt_alias_missing", "?????"),
    ],
)
def test_a_reference_that_means_nothing_says_why(
    entry: PromptEntry, asked: dict[str, Any], code: str, words: str
) -> None:
    with pytest.raises(NotFound) as raised:
        entry.resolve(**asked)
    assert raised.value.code == code
    assert words in raised.value.sentence
    assert len(raised.value.sentence) < 500


def test_an_unknown_prompt_is_told_with_the_nearest(tmp_path: Path) -> None:
    known = msgspec.structs.replace(snapshot(1), prompts={"greet": prompt(1)})
    assert known.prompt("greet", number=1).version.number == 1
    with pytest.raises(NotFound, match=r'There is no prompt "gret"\. Nearest: greet\.'):
        known.prompt("gret")


def test_a_snapshot_of_before_prompts_is_still_read() -> None:
    old = encode(snapshot(1)).replace(b"\xa7prompts\x80", b"")
    assert len(old) < len(encode(snapshot(1)))
    body = old[60:]
    count = body[0] - 1
    body = bytes([count]) + body[1:]
    head = _HEAD.pack(_MAGIC, _VERSION, 1, len(body))
    assert decode(head + hashlib.sha256(head + body).digest() + body) == snapshot(1)


def test_numbers_are_told_as_spans() -> None:
    assert spans([5, 1, 2, 3, 9]) == "1-3, 5, 9"
    assert spans([]) == "none"

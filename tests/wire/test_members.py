"""Members of an object read piece by piece are those that a parser finds, wherever the text is cut."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headgate.wire.members import MemberScan
from headgate.wire.splice import top_level_span

WANTED = frozenset(("model", "stream", "prompt"))
NAMES = st.sampled_from(["model", "stream", "prompt", "messages", 'a"b', "mod\\el", "", "é"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from(['"', "\\", '{"model":1}', "]}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


def scan(*pieces: bytes) -> MemberScan:
    found = MemberScan(WANTED)
    for piece in pieces:
        found.feed(piece)
    return found


def written(members: list[tuple[str, Any]], space: str, *, escapes: bool) -> bytes:
    """An object with these members, names twice included."""
    inner = ("," + space).join(
        json.dumps(name, ensure_ascii=escapes)
        + space
        + ":"
        + space
        + json.dumps(value, ensure_ascii=escapes, indent=1 if space else None)
        for name, value in members
    )
    return f"{space}{{{space}{inner}{space}}}{space}".encode()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    members=st.lists(st.tuples(NAMES, VALUES), max_size=5),
    space=st.sampled_from(["", " ", "\n\t "]),
    escapes=st.booleans(),
    cuts=st.lists(st.integers(0, 400), max_size=6),
)
def test_members_are_found_wherever_the_text_is_cut(
    members: list[tuple[str, Any]], space: str, escapes: bool, cuts: list[int]
) -> None:
    text = written(members, space, escapes=escapes)
    at = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    for pieces in ([text[a:b] for a, b in zip(at, at[1:], strict=False)], [text[i : i + 1] for i in range(len(text))]):
        found = scan(*pieces)
        assert (found.problem, found.is_whole) == (None, True)
        assert [(one.name, json.loads(one.value or b"?")) for one in found.found] == [
            m for m in members if m[0] in WANTED
        ]
        for one in found.found:
            assert text[one.start : one.end] == one.value
        last, span = found.last("model"), top_level_span(text, "model")
        assert (last and (last.start, last.end)) == (span and (span.start, span.end))


def test_a_name_is_known_however_it_is_escaped() -> None:
    found = scan(b'{"\\u006dodel":"a","messages":[{"model":"b"}]}')
    assert [(one.name, one.value) for one in found.found] == [("model", b'"a"')]


@pytest.mark.parametrize(
    "text", [b"[1]", b'{"a" 1}', b'{"a":1 "b":2}', b"{a:1}", b'{"a":1}x', b'{"a":1,}', b"null", b"\xef\xbb\xbf{}"]
)
def test_what_is_no_object_has_a_problem(text: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(text, type=dict)
    for found in (scan(text), scan(*(text[i : i + 1] for i in range(len(text))))):
        assert found.problem is not None
        assert not found.is_whole


@pytest.mark.parametrize("text", [b"", b"{", b'{"model', b'{"model":"x', b'{"a":[1,2', b'{"a":"\\'])
def test_what_is_cut_is_not_whole(text: bytes) -> None:
    assert not scan(text).is_whole
    assert scan(text).problem is None


def test_a_value_too_long_to_be_kept_is_noted_without_it() -> None:
    found = scan(b'{"model":"', *[b"x" * 1000] * 100, b'","stream":true}')
    assert [(one.name, one.value) for one in found.found] == [("model", None), ("stream", b"true")]


def test_a_member_named_without_end_is_a_problem_and_takes_no_memory() -> None:
    found = scan(b"{", *[b'"model":"a",' * 100] * 20)
    assert found.problem == "it names members such as model more than 64 times"
    assert len(found.found) == 64


def test_texts_full_of_escapes_and_brackets_are_followed() -> None:
    value = '\\"[{]}' * 20_000
    text = json.dumps({"messages": [{"content": value}, value], "model": "m"}).encode()
    found = scan(*(text[i : i + 997] for i in range(0, len(text), 997)))
    assert (found.is_whole, [one.value for one in found.found]) == (True, [b'"m"'])

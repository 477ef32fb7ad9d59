"""Edits of raw JSON: the member changes, every other byte stays."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.errors import MalformedRequest
from headgate.wire.splice import insert_member, remove_member, replace_value, top_level_span, with_include_usage

many = settings(deadline=None)
VALUE = st.recursive(
    st.sampled_from(
        ["1e400", "-0.0", "12345678901234567890123", "true", "null", '"a\\"b\\\\"', '"\\u00e9\\n"', '"{"', '"é"']
    ),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda parts: "[ " + " ,".join(parts) + "]")
        | st.lists(st.tuples(st.sampled_from(['"model"', '"a"', '"m\\u006fdel"']), inner), max_size=3).map(
            lambda members: "{" + ", ".join(f"{key} : {value}" for key, value in members) + " }"
        )
    ),
    max_leaves=8,
)
SPACE = st.sampled_from(["", " ", "\n\t", "\r\n  "])
KEY = st.sampled_from(['"model"', '"m\\u006fdel"', '"a"', '"\\"model\\":"', '"été"', '""'])


@st.composite
def objects(draw: st.DrawFn) -> tuple[str, list[tuple[str, str, str]]]:
    """A JSON object as text, and its members: name, value text, whole text."""
    members = []
    for _ in range(draw(st.integers(0, 5))):
        key, value = draw(KEY), draw(VALUE)
        before, colon, after = draw(SPACE), draw(SPACE), draw(SPACE)
        members.append((json.loads(key), value, f"{before}{key}{colon}:{draw(SPACE)}{value}{after}"))
    text = draw(SPACE) + "{" + (",".join(member[2] for member in members) or draw(SPACE)) + "}" + draw(SPACE)
    return text, members


def pairs(text: str | bytes) -> list[tuple[str, Any]]:
    loaded: list[tuple[str, Any]] = json.loads(text, object_pairs_hook=list, parse_float=str, parse_int=str)
    return loaded


@many
@given(objects())
def test_span_is_that_of_the_last_duplicate(made: tuple[str, list[tuple[str, str, str]]]) -> None:
    text, members = made
    span = top_level_span(text.encode(), "model")
    values = [value for name, value, _ in members if name == "model"]
    assert (span is None) == (not values)
    if span is not None:
        assert text.encode()[span.start : span.end].decode() == values[-1]
        rest = text.encode()[: span.member_start] + text.encode()[span.member_end :]
        last = max(i for i, member in enumerate(members) if member[0] == "model")
        assert pairs(rest) == [pair for i, pair in enumerate(pairs(text)) if i != last]


@many
@given(objects())
def test_replacing_changes_the_value_and_no_other_byte(made: tuple[str, list[tuple[str, str, str]]]) -> None:
    text, members = made
    new = '"other"'
    changed = replace_value(text.encode(), "model", new.encode()).decode()
    if not any(name == "model" for name, _, _ in members):
        assert pairs(changed) == [*pairs(text), ("model", "other")]
        return
    assert [pair[0] for pair in pairs(changed)] == [pair[0] for pair in pairs(text)]
    assert dict(pairs(changed))["model"] == "other"
    # the text between the changed values is untouched: put the old values back and compare
    back, at = "", 0
    for name, value, _ in members:
        if name == "model":
            place = changed.index(new, at)
            back += changed[at:place] + value
            at = place + len(new)
    assert back + changed[at:] == text


@many
@given(objects())
def test_removing_leaves_the_other_members_in_their_order(made: tuple[str, list[tuple[str, str, str]]]) -> None:
    text, _ = made
    left = remove_member(text.encode(), "model")
    assert pairs(left) == [pair for pair in pairs(text) if pair[0] != "model"]
    assert remove_member(left, "model") is left


@many
@given(objects())
def test_inserting_appends_and_touches_nothing_before(made: tuple[str, list[tuple[str, str, str]]]) -> None:
    text, _ = made
    grown = insert_member(text.encode(), "new", b'{"x":1}')
    assert pairs(grown) == [*pairs(text), ("new", [("x", "1")])]
    assert grown.startswith(text.rstrip(" \t\r\n")[:-1].encode())


@many
@given(objects(), st.integers(0, 300))
def test_large_and_small_bodies_are_edited_alike(made: tuple[str, list[tuple[str, str, str]]], at: int) -> None:
    text, _ = made
    padded = insert_member(text.encode(), "pad", b'"' + b"x" * 9000 + b'"')
    long = remove_member(replace_value(padded, "model", b"7"), "pad") if "model" in dict(pairs(text)) else None
    if long is not None:
        assert long == replace_value(text.encode(), "model", b"7")


def test_numbers_and_escapes_keep_their_spelling() -> None:
    body = b'{"seed":12345678901234567890,"x":1e400,"y":1.0,"model":"a","s":"\\u00e9\\ud800","n":NaN}'
    assert replace_value(body, "model", b'"b"') == body.replace(b'"a"', b'"b"')
    not_utf8 = b'{"s":"\xff", "model" : "a"}'
    assert replace_value(not_utf8, "model", b'"b"') == b'{"s":"\xff", "model" : "b"}'


def test_every_duplicate_is_replaced_since_parsers_disagree_on_which_counts() -> None:
    body = b'{"model":"a","model":"ab","x":{"model":"a"},"\\u006dodel":"a"}'
    assert replace_value(body, "model", b"1") == b'{"model":1,"model":1,"x":{"model":"a"},"\\u006dodel":1}'
    assert remove_member(body, "model") == b'{"x":{"model":"a"}}'
    assert remove_member(b'{"a":1,"a":2}', "a") == b"{}"


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'"model"', b"{", b'{"model"', b'{"model":1', b'{"model":1,}', b'{"model":1}}', b"{1:2}", b"{'a':1}"]
    + [
        b'{"a" 1}',
        b"nul",
        b'{"a":1}{"b":2}',
        b"\xef\xbb\xbf{}",
        b'{"a":' + b"[" * 100_000,
        b'{"a":+1}',
        b'{"a":"\x01"}',
    ],
)
def test_body_that_is_no_object_is_refused_with_a_reason(body: bytes) -> None:
    for edit in (lambda: top_level_span(body, "model"), lambda: with_include_usage(body)):
        with pytest.raises(MalformedRequest) as caught:
            edit()
        assert caught.value.sentence.endswith("Send one JSON object.")


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        (b'{"stream":true}', b'{"stream":true,"stream_options":{"include_usage":true}}'),
        (b"{ }", b'{ "stream_options":{"include_usage":true}}'),
        (b'{"stream_options": null}\n', b'{"stream_options": {"include_usage":true}}\n'),
        (b'{"stream_options":{ }, "n":1}', b'{"stream_options":{ "include_usage":true}, "n":1}'),
        (
            b'{"stream_options":{"include_obfuscation":false}}',
            b'{"stream_options":{"include_obfuscation":false,"include_usage":true}}',
        ),
        (b'{"stream_options":{"include_usage":null}}', b'{"stream_options":{"include_usage":true}}'),
        (b'{"a":{"stream_options":1}}', b'{"a":{"stream_options":1},"stream_options":{"include_usage":true}}'),
        (b'{"a":"\\ud800"}', b'{"a":"\\ud800","stream_options":{"include_usage":true}}'),
        (b'{"stream_options":{"include_usage":true}}', None),
        (b'{"stream_options":{"include_usage":false}}', None),
        (b'{"stream_options":{"include\\u005fusage":false}}', None),
        (b'{"stream_options":{"include_usage":"yes"}}', None),
        (b'{"stream_options":[]}', None),
    ],
)
def test_usage_is_asked_for_unless_the_client_decided(body: bytes, sent: bytes | None) -> None:
    assert with_include_usage(body) == sent


def test_thousands_of_duplicates_are_edited_in_one_pass_and_more_are_refused() -> None:
    body = b'{"x":1' + b',"model":"a","model":"bb"' * 4_000 + b"}"
    assert remove_member(body, "model") == b'{"x":1}'
    assert replace_value(body, "model", b"2") == b'{"x":1' + b',"model":2' * 8_000 + b"}"
    with pytest.raises(MalformedRequest, match="more than 10000 members"):
        remove_member(b'{"x":1' + b',"model":1' * 20_000 + b"}", "model")

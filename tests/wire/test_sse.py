"""Event streams framed over any byte split, and the filter of the usage event."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.wire.sse import Event, EventStream, UsageEventFilter, event_of

RECORDINGS = {path.name: path.read_bytes() for path in sorted(Path(__file__).parent.glob("recordings/*.sse"))}
LINE_ENDS = {"lf": b"\n", "crlf": b"\r\n", "cr": b"\r"}
few = settings(max_examples=40, deadline=None)


def cut(data: bytes, at: list[int]) -> list[bytes]:
    places = sorted({place % (len(data) + 1) for place in at})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


def events(pieces: list[bytes]) -> list[Event]:
    stream = EventStream()
    return [event for piece in pieces for event in stream.feed(piece)] + stream.finish()


def filtered(pieces: list[bytes]) -> bytes:
    usage_filter = UsageEventFilter()
    return b"".join([usage_filter.feed(piece) for piece in pieces]) + usage_filter.finish()


def test_fields_are_read_as_the_format_defines_them() -> None:
    stream = EventStream()
    data = (
        b"\xef\xbb\xbf: note\nevent:a\ndata: 1\ndata:2\ndata\nid: 3\n\n\n\ndata:  x\r\n\r\nevent: none\n\ndata: end\r\r"
    )
    assert stream.feed(data) == [Event(b"a", b"1\n2\n"), Event(b"", b" x"), Event(b"", b"end")]
    assert stream.finish() == []


def test_stream_that_ends_without_its_blank_line_gives_its_last_event() -> None:
    assert events([b"data: 1\n\ndata: 2"]) == [Event(b"", b"1"), Event(b"", b"2")]


@few
@given(st.sampled_from(sorted(RECORDINGS)), st.sampled_from(sorted(LINE_ENDS)), st.lists(st.integers(0, 10**6)))
def test_events_do_not_depend_on_the_byte_split_nor_on_the_line_end(name: str, line_end: str, at: list[int]) -> None:
    plain = RECORDINGS[name]
    data = plain.replace(b"\n", LINE_ENDS[line_end])
    assert events(cut(data, at)) == events([plain])


@few
@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"data: x", b"event:y", b":", b"\xef\xbb\xbf"])), st.data())
def test_any_mixture_of_line_ends_gives_the_same_events_for_every_split(
    tokens: list[bytes], data: st.DataObject
) -> None:
    text = b"".join(tokens)
    assert events([text[i : i + 1] for i in range(len(text))]) == events([text])
    assert events(cut(text, data.draw(st.lists(st.integers(0, 200))))) == events([text])


def test_event_over_the_limit_is_skipped_and_counted_while_its_neighbours_are_read() -> None:
    stream = EventStream(limit_bytes=1000)
    found = stream.feed(b"data: before\n\n")
    for _ in range(5000):
        found += stream.feed(b"x" * 100)
    found += stream.feed(b"\n") + stream.feed(b"\ndata: after\n\n")
    assert found == [Event(b"", b"before"), Event(b"", b"after")]
    assert stream.dropped == 1


def without_usage_event(data: bytes, line_end: bytes) -> bytes:
    kept = []
    for block in data.split(line_end * 2):
        event = event_of(block.replace(line_end, b"\n"))
        if not (event and b'"choices":[]' in event.data and b'"usage":{' in event.data):
            kept.append(block)
    return (line_end * 2).join(kept)


@few
@given(st.sampled_from(sorted(RECORDINGS)), st.sampled_from(sorted(LINE_ENDS)), st.lists(st.integers(0, 10**6)))
def test_filter_gives_the_stream_without_the_usage_event_for_every_split(name: str, end: str, at: list[int]) -> None:
    data = RECORDINGS[name].replace(b"\n", LINE_ENDS[end])
    assert filtered(cut(data, at)) == without_usage_event(data, LINE_ENDS[end])


@pytest.mark.parametrize("name", ["openai_chat.sse", "azure_chat.sse", "openai_completions.sse"])
@pytest.mark.parametrize("line_end", sorted(LINE_ENDS))
def test_filter_is_right_at_every_single_byte_split(name: str, line_end: str) -> None:
    data = RECORDINGS[name].replace(b"\n", LINE_ENDS[line_end])
    wanted = without_usage_event(data, LINE_ENDS[line_end])
    assert len(wanted) < len(data)
    assert filtered([data[i : i + 1] for i in range(len(data))]) == wanted
    for at in range(len(data)):
        assert filtered([data[:at], data[at:]]) == wanted


def test_piece_of_complete_ordinary_events_comes_back_as_the_same_object() -> None:
    usage_filter = UsageEventFilter()
    for piece in (
        b'data: {"choices":[{"delta":{"content":"a"}}],"usage":null}\n\n',
        b'data: {"choices":[{"l":[]}]}\n\n',
    ):
        assert usage_filter.feed(piece) is piece


def test_filter_holds_back_only_what_may_still_be_the_usage_event() -> None:
    usage_filter = UsageEventFilter()
    assert usage_filter.feed(b'data: {"choices":[{"delta":{"content":"a') == b'data: {"choices":[{"delta":{"content":"a'
    assert usage_filter.feed(b'b"}}]}\n') == b'b"}}]}\n'
    assert usage_filter.feed(b"\ndata: [DO") == b"\ndata: [DO"
    assert usage_filter.feed(b"NE]\n\n") == b"NE]\n\n"
    assert usage_filter.feed(b'data: {"choices": [ ], "usa') == b""
    assert usage_filter.feed(b'ge": {"total_tokens": 3}}\n') == b""
    assert usage_filter.feed(b"\n: ping\n\n") == b": ping\n\n"
    assert usage_filter.finish() == b""


@pytest.mark.parametrize(
    "data",
    [
        b'data: {"choices":[],"usage":null}\n\n',
        b'data: {"choices":[],"prompt_filter_results":[]}\n\n',
        b'data: {"choices":[{"text":"\\"choices\\":[]"}],"usage":{"a":1}}\n\n',
        b'data: {"usage":{"a":1}}\n\n',
        b'data: {"choices":[],"usage":{"a":1}\n\n',
        b'data: {"choices":[],"usage":{"a":1',
    ],
)
def test_event_that_is_not_usage_alone_stays(data: bytes) -> None:
    for at in range(len(data) + 1):
        assert filtered([data[:at], data[at:]]) == data


@pytest.mark.parametrize(
    "data",
    [
        b'data: {"choices": [ ] , "usage" : {"a":1}}\n\n',
        b'event: x\ndata:{"usage":{},"choices":[]}\r\n\r\n',
        b'data: {"\\u0063hoices":[],"usage":{"a":1}}\n\n',
        b'data: {"choices":\ndata: [\ndata: ],"usage":{"a":1}}\n\n',
        b'data: {"choices":[],"usage":{"a":1}}\n',
    ],
)
def test_usage_event_goes_however_it_is_written(data: bytes) -> None:
    for at in range(len(data) + 1):
        assert filtered([data[:at], data[at:]]) == b""


def test_filter_never_holds_more_than_a_usage_event_can_be_long() -> None:
    usage_filter = UsageEventFilter()
    passed = b"".join(usage_filter.feed(piece) for piece in [b'data: {"x":"'] + [b"y" * 1000] * 100)
    assert len(passed) > 80_000
    end = b'","choices":[],"usage":{"a":1}}\n\n'
    assert usage_filter.feed(end).endswith(end)

"""Spans and points of time as people write them."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.durations import BadTime, parse_duration, parse_since
from headgate.core.ids import utc

NOW_US = 1_795_000_000_000_000


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90d", 7_776_000),
        ("24h", 86_400),
        ("30m", 1_800),
        ("7D", 604_800),
        ("1h30m", 5_400),
        (" 2w ", 1_209_600),
        ("500ms", 0.5),
    ],
)
def test_spans_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds
    assert parse_since(text, NOW_US) == NOW_US - round(seconds * 1_000_000)


@pytest.mark.parametrize(
    "text", ["", "7", "d", "-7d", "7 d", "7d!", "7x", "0s", "99999999w", "1e3s", "٣d", "7d" * 1000 + "x"]
)
def test_what_is_no_span_is_refused_with_examples(text: str) -> None:
    with pytest.raises(BadTime) as raised:
        parse_duration(text)
    assert "24h" in raised.value.sentence
    assert len(raised.value.sentence) < 300


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-23", "2026-11-23T00:00:00+00:00"),
        ("2026-11-23T08:30", "2026-11-23T08:30:00+00:00"),
        ("2026-11-23 08:30:15.250", "2026-11-23T08:30:15.250000+00:00"),
        ("2026-11-23T08:30:00Z", "2026-11-23T08:30:00+00:00"),
        ("2026-11-23T08:30:00+02:00", "2026-11-23T06:30:00+00:00"),
        ("1969-12-31", "1969-12-31T00:00:00+00:00"),
    ],
)
def test_times_are_utc_unless_they_say_otherwise(text: str, expected: str) -> None:
    assert utc(parse_since(text, NOW_US)).isoformat() == expected


@pytest.mark.parametrize(
    "text", ["yesterday", "20261123", "2026-W48-1", "2026-13-01", "2026-11-23T25:00", "", "7d ago", "\x00"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(BadTime):
        parse_since(text, NOW_US)


@settings(deadline=None)
@given(st.text(max_size=50))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(BadTime):
        assert isinstance(parse_since(text, NOW_US), int)

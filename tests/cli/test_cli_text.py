"""Values as people see them."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.cli.log import total_line
from headgate.cli.text import (
    count,
    exact_usd,
    json_text,
    local_time,
    many,
    milliseconds,
    percent,
    printable,
    seconds,
    short_id,
    size,
    usd,
)


def is_harmless(text: str) -> bool:
    return not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 or char in "\u202e\u2066\u2028\ufeff" for char in text)


@settings(deadline=None)
@given(st.text())
def test_printable_text_steers_no_terminal(text: str) -> None:
    assert is_harmless(printable(text))
    printable(text).encode()  # no lone surrogate is left


@settings(deadline=None)
@given(st.text())
def test_lines_stay_only_when_asked_for(text: str) -> None:
    assert is_harmless(printable(text, keep_lines=True).replace("\n", "").replace("\t", ""))


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_json_for_a_terminal_is_harmless_and_reads_back_the_same(value: object) -> None:
    text = json_text(value)
    assert is_harmless(text.replace("\n", ""))
    assert json.loads(text) == value
    assert "\n" not in json_text(value, indent=None)


def test_escapes_are_written_out() -> None:
    assert printable("\x1b[31mred\x07") == "\\x1b[31mred\\x07"
    assert printable("a\u202eb\u2028") == "a\\u202eb\\u2028"
    assert printable("\ud800") == "\\ud800"
    assert printable("Grüße 👩‍💻") == "Grüße 👩‍💻"
    assert printable("one\r\ntwo", keep_lines=True) == "one\ntwo"
    assert printable("[bold]x[/bold]") == "[bold]x[/bold]"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "unpriced"),
        ("0", "$0"),
        ("0.000000123456", "$0.000000123"),
        ("0.0421", "$0.0421"),
        ("1.5", "$1.50"),
        ("12345.678", "$12,345.68"),
        ("0.000000000001", "$0.000000000001"),
        ("NaN", "NaN"),
        ("many", "many"),
    ],
)
def test_money_has_three_digits_and_unknown_is_not_zero(value: str | None, said: str) -> None:
    assert usd(value) == said


def test_exact_money_has_all_digits() -> None:
    assert exact_usd("0.000143250000") == "$0.00014325"
    assert exact_usd("100") == "$100"


def test_numbers_have_units() -> None:
    assert (count(1234567), count(None)) == ("1,234,567", "-")
    assert (many(1, "request"), many(1234, "request")) == ("1 request", "1,234 requests")
    assert (milliseconds(812.4), milliseconds(0.421), milliseconds(None)) == ("812", "0.42", "-")
    assert (size(512), size(1500), size(5_000_000_000), size(None)) == ("512 B", "1.5 KB", "5.0 GB", "-")
    assert (seconds(0.42), seconds(200), seconds(187200)) == ("0.4 s", "3 min 20 s", "2 d 4 h")


def test_a_share_is_never_rounded_up_to_all() -> None:
    assert (percent(9999, 10000), percent(1, 10000), percent(1, 2), percent(0, 0)) == ("> 99 %", "< 1 %", "50 %", "-")


def test_times_and_ids_that_are_none_stand_as_they_are() -> None:
    assert local_time("yesterday\x1b") == "yesterday\\x1b"
    assert len(local_time("2026-11-23T08:24:47.123456Z")) == 19
    assert (short_id("019ab6c2-7f31-7000-8000-000000000000"), short_id(None)) == ("019ab6c2-7f31", "-")


def test_a_total_names_apart_what_cannot_have_cost_anything() -> None:
    total = {
        "requests": 14, "errors": 4, "priced": 8, "unpriced": 1, "failed": 2, "not_sent": 2, "not_priced": 1,
        "cost_usd": "0.42", "unpriced_reasons": {"unknown model": 1},
    }  # fmt: skip
    assert total_line(total) == (
        "14 requests, 4 errors, 2 failed at the upstream, 2 not sent, 1 not to a priced endpoint. "
        "Cost $0.420, covering 88 % of 9 that may have cost something (8 with a price, 1 without: unknown model (1))."
    )
    covered = {**total, "priced": 9, "unpriced": 0, "unpriced_reasons": {}, "estimated": 3}
    assert total_line(covered).endswith(
        "Cost $0.420, covering 100 % of 9 that may have cost something, 3 with estimated tokens."
    )
    assert total_line({"requests": 2, "errors": 2, "failed": 2}).endswith("2 failed at the upstream. Nothing to price.")

"""The pages: what is shown, what is never run, what stays in the address."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from support.pages import HOSTILE, checked

Serve = Callable[..., Any]


def test_an_empty_log_says_how_to_send_the_first_request(serve: Serve) -> None:
    answer = serve().ask("GET", "/ui/requests")
    assert "Nothing here yet" in answer.text
    assert "http://127.0.0.1:4400/v1" in answer.text
    checked(answer.text)


def test_hostile_text_in_every_field_stays_text(serve: Serve) -> None:
    served = serve()
    served.record(
        said=HOSTILE, answer=HOSTILE, model=HOSTILE, model_requested=HOSTILE, user_id=HOSTILE, session_id=HOSTILE,
        prompt_name=HOSTILE, error_message=HOSTILE, error_type=HOSTILE, client=HOSTILE, path=HOSTILE,
        tags={HOSTILE: HOSTILE}, response_id=HOSTILE, route=HOSTILE, upstream=HOSTILE, service_tier=HOSTILE,
        usage_raw=None, finish_reason=HOSTILE, key_id=HOSTILE, outcome="upstream_error", status=500,
    )  # fmt: skip
    listing = served.ask("GET", "/ui/requests")
    assert HOSTILE in checked(listing.text).text
    (link,) = set(re.findall(r'href="(/ui/requests/[0-9a-f-]{36})"', listing.text))
    shown = checked(served.ask("GET", link).text)
    assert shown.text.count("alert(1)") > 10
    assert "49" not in re.findall(r"onerror=alert\(2\)>(\d+)", shown.text)


def test_pages_forbid_scripts_styles_frames_and_foreign_forms(serve: Serve) -> None:
    served = serve()
    for path in ("/ui/requests", "/ui/login", "/ui/nothing", "/api/requests"):
        policy = served.ask("GET", path).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src" not in policy and "unsafe" not in policy
        for rule in ("frame-ancestors 'none'", "form-action 'self'", "base-uri 'none'", "style-src 'self'"):
            assert rule in policy


def test_filters_stay_in_the_address_and_in_the_form(serve: Serve) -> None:
    served = serve()
    for number in range(60):
        served.record(age_s=100 - number, tags={"team": "a b"}, user_id="u&1")
    page = served.ask("GET", "/ui/requests?since=7d&model=gpt-*&tag.team=a+b&user=u%261").text
    assert 'value="gpt-*"' in page
    assert '<option value="7d" selected>' in page
    assert 'name="tag.team" value="a b"' in page
    (older,) = re.findall(r'href="([^"]+)" rel="next"', page)
    second = served.ask("GET", older.replace("&amp;", "&")).text
    assert len(re.findall('class="row-link"', second)) == 10
    assert "No older ones" in second
    (newer,) = re.findall(r'href="([^"]+)" rel="prev"', second)
    first = served.ask("GET", newer.replace("&amp;", "&")).text
    assert re.findall('row-link" href="([^"]+)', first) == re.findall('row-link" href="([^"]+)', page)


def test_unknown_cost_is_called_unpriced_and_never_zero(serve: Serve) -> None:
    served = serve()
    request_id = served.record(model="nobody-knows")
    for path in ("/ui/requests", f"/ui/requests/{request_id}"):
        text = checked(served.ask("GET", path).text).text
        assert "unpriced (unknown model" in text
        assert "$0" not in text


def test_one_request_shows_messages_price_lines_timing_and_decisions(serve: Serve) -> None:
    served = serve()
    request_id = served.record(said="What is 2+2?", answer="It is 4.")
    text = checked(served.ask("GET", f"/ui/requests/{request_id}").text).text
    for words in ("What is 2+2?", "It is 4.", "Waiting for the first byte", "Stored cost", "How it was answered"):
        assert words in text
    assert re.search(r"\$0\.00\d+", text)


def test_a_long_conversation_shows_its_newest_messages(serve: Serve) -> None:
    served = serve()
    text = served.ask("GET", f"/ui/requests/{served.record(said='x' * 100_000)}").text
    assert "more characters in the raw body" in text


@pytest.mark.parametrize("capture", ["metadata", "none"])
def test_a_request_without_bodies_says_so(serve: Serve, capture: str) -> None:
    served = serve()
    page = served.ask("GET", f"/ui/requests/{served.record(capture=capture)}").text
    assert "was kept for this request" in page


def test_deleting_from_the_page_needs_its_token(serve: Serve) -> None:
    served = serve()
    request_id = served.record()
    page = served.ask("GET", f"/ui/requests/{request_id}").text
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found is not None
    path = f"/ui/requests/{request_id}/delete"
    assert served.ask("POST", path, form={"csrf": "x"}).status_code == 403
    assert served.ask("POST", path, form={"csrf": found[1]}).status_code == 303
    assert served.ask("GET", f"/ui/requests/{request_id}").status_code == 404


def test_static_files_are_kept_by_browsers_and_their_address_changes_with_them(serve: Serve) -> None:
    served = serve()
    (style,) = [link for link in checked(served.ask("GET", "/ui/login").text or "<p>").links if "app.css" in link] or [
        link for link in checked(served.ask("GET", "/ui/requests").text).links if "app.css" in link
    ]
    answer = served.ask("GET", style)
    assert answer.headers["content-type"].startswith("text/css")
    assert "immutable" in answer.headers["cache-control"]
    assert "?v=" in style
    assert served.ask("GET", "/ui/static/..%2F..%2Fapp.py").status_code == 404


@pytest.mark.parametrize("path", ["/", "/ui", "/ui/"])
def test_the_root_leads_to_the_requests(serve: Serve, path: str) -> None:
    assert serve().ask("GET", path).headers["location"] == "/ui/requests"


def test_a_bad_filter_is_a_page_that_says_so(serve: Serve) -> None:
    answer = serve().ask("GET", "/ui/requests?modle=x")
    assert answer.status_code == 400
    assert "Nearest: model" in checked(answer.text).text

"""The API of requests: list, filters, totals, one, why, bodies, export, delete."""

import csv
import io
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from headgate.spool.record import Attempt

Serve = Callable[..., Any]


def test_a_stored_request_is_listed_with_contract_columns(serve: Serve) -> None:
    served = serve()
    request_id = served.record(tags={"team": "search"}, key_id="key_1")
    page = served.get("/api/requests")
    (row,) = page["requests"]
    assert row["request_id"] == request_id
    assert row["tags"] == {"team": "search"}
    assert row["usage_raw"]["completion_tokens"] == 87
    assert row["started_at"].endswith("Z")
    assert isinstance(row["cost_usd"], str)
    assert "seq" not in row
    assert page["next"] is None
    assert page["total"]["requests"] == 1
    assert Decimal(page["total"]["cost_usd"]) == Decimal(row["cost_usd"]) > 0


def test_an_empty_log_has_a_total_of_nothing(serve: Serve) -> None:
    page = serve().get("/api/requests")
    assert (page["requests"], page["next"], page["total"]["requests"]) == ([], None, 0)
    assert page["total"]["cost_usd"] == "0"


@pytest.fixture
def varied(serve: Serve) -> Any:
    """Seven requests that differ in one thing each."""
    served = serve()
    served.record(age_s=60)
    served.record(age_s=50, model="gpt-5", model_requested="fast", prompt_name="support", prompt_version=7)
    served.record(age_s=40, status=429, outcome="upstream_error", error_message="slow down", usage_raw=None)
    served.record(age_s=30, user_id="u-17", session_id="s-1", prompt_name="support", prompt_version=8)
    served.record(age_s=20, tags={"team/a": "search", "it's": "x"}, purpose="eval")
    served.record(age_s=10, outcome="client_closed", status=499)
    served.record(age_s=9000, project="blue")
    return served


FOUND = [
    ("", 7),
    ("model=gpt-5", 1),
    ("model=fast", 1),
    ("model=gpt-*", 7),
    ("model=gpt-[5", 0),
    ("prompt=support", 2),
    ("prompt=support@7", 1),
    ("prompt=support@production", 0),
    ("errors=1", 1),
    ("status=429", 1),
    ("status=4xx", 2),
    ("outcome=client_closed", 1),
    ("user=u-17&session=s-1", 1),
    ("project=blue", 1),
    ("purpose=eval", 1),
    ("purpose=all", 7),
    ("tag.team/a=search", 1),
    ("tag.it's=x", 1),
    ("tag.team=search", 0),
    ("q=SLOW+down", 1),
    ("q=%25", 0),
    ("since=1h", 6),
    ("until=1h", 1),
    ("since=2020-01-01T00:00:00Z&until=2020-01-02", 0),
    ("user=' OR 1=1 --", 0),
    ("model=", 7),
]


def test_filters_choose_what_they_say(varied: Any) -> None:
    for query, found in FOUND:
        page = varied.get(f"/api/requests?{query}")
        assert (query, len(page["requests"]), page["total"]["requests"]) == (query, found, found)


REFUSED = [
    ("modle=gpt-5", "Nearest: model"),
    ("since=yesterday", "since="),
    ("limit=0", "limit="),
    ("limit=1e3", "limit="),
    ("status=99", "HTTP status"),
    ("errors=maybe", "neither"),
    ("model=a&model=b", "twice"),
    ("before=x", "no request id"),
    (f"q={'x' * 600}", "longer"),
    ("&".join(f"tag.a{n}=x" for n in range(30)), "tag filters"),
]


def test_a_parameter_that_cannot_be_used_is_refused_by_name(serve: Serve) -> None:
    served = serve()
    for query, words in REFUSED:
        answer = served.ask("GET", f"/api/requests?{query}")
        error = answer.json()["error"]
        assert answer.status_code == 400, query
        assert words in f"{error['message']} {error['hint']}"


def test_a_request_is_found_by_how_its_id_begins(serve: Serve) -> None:
    served = serve()
    older, newer = served.record(age_s=864_000), served.record()
    for wanted in (newer, newer[:13], newer[:11].upper(), newer.replace("-", "")[:20]):
        assert [row["request_id"] for row in served.get(f"/api/requests?q={wanted}")["requests"]] == [newer]
    assert served.get(f"/api/requests?q={older[:10]}")["total"]["requests"] == 1


def test_pages_follow_each_other_without_gap_or_repeat(serve: Serve) -> None:
    served = serve()
    stored = [served.record(age_s=100 - number) for number in range(7)]
    seen: list[str] = []
    before = ""
    while True:
        page = served.get(f"/api/requests?limit=3{before}")
        seen += [row["request_id"] for row in page["requests"]]
        assert page["total"]["requests"] == 7
        if page["next"] is None:
            break
        before = f"&before={page['next']}"
    assert seen == stored[::-1]


def test_unknown_cost_is_null_with_its_reason_in_the_coverage(serve: Serve) -> None:
    served = serve()
    served.record(model="nobody-knows")
    total = served.get("/api/requests")["total"]
    assert (total["cost_usd"], total["priced"], total["unpriced"]) == (None, 0, 1)
    assert list(total["unpriced_reasons"].values()) == [1]


def test_a_request_that_was_never_sent_does_not_lower_the_coverage(serve: Serve) -> None:
    served = serve()
    served.record(outcome="refused", status=400, attempts=[], usage_raw=None, capture="metadata")
    total = served.get("/api/requests")["total"]
    assert (total["unpriced"], total["not_sent"], total["cost_usd"]) == (0, 1, "0")


def test_what_cost_nothing_is_counted_apart_and_does_not_lower_the_coverage(serve: Serve) -> None:
    served = serve()
    served.record()
    nothing: dict[str, Any] = {"usage_raw": None, "capture": "metadata", "outcome": "upstream_error"}
    unreached = [Attempt(upstream="openai", error_type="connect"), Attempt(upstream="openai", error_type="connect")]
    served.record(status=502, error_type="upstream_unreachable", attempts=unreached, **nothing)
    refused = [Attempt(upstream="openai", status=429)]
    for status in (429, 500):
        served.record(status=status, attempts=[Attempt(upstream="openai", status=status)], **nothing)
    served.record(status=502, attempts=[*refused, *unreached], **nothing)
    served.record(endpoint="other", path="/v1/messages/count_tokens", **{**nothing, "outcome": "ok"})
    total = served.get("/api/requests")["total"]
    counted = {name: total[name] for name in ("requests", "priced", "unpriced", "failed", "not_sent", "not_priced")}
    assert counted == {"requests": 6, "priced": 1, "unpriced": 0, "failed": 3, "not_sent": 1, "not_priced": 1}
    assert total["unpriced_reasons"] == {}
    found = served.get("/api/cost?by=outcome")
    assert found["total"]["coverage"] == 1.0
    assert {row["outcome"]: row["failed"] for row in found["rows"]} == {"ok": 0, "upstream_error": 3}
    rows = served.get("/api/requests")["requests"]
    assert [row["cost_usd"] for row in rows if row["cost_reason"]] == [None] * 5


@pytest.mark.parametrize(
    ("attempts", "outcome"),
    [
        ([Attempt(upstream="openai", error_type="timeout")], "timeout"),
        ([Attempt(upstream="a", error_type="timeout"), Attempt(upstream="b", error_type="connect")], "upstream_error"),
        ([], "client_closed"),
        ([], "interrupted"),
    ],
)
def test_a_request_that_was_sent_and_never_answered_is_unpriced_as_nobody_knows(
    serve: Serve, attempts: list[Attempt], outcome: str
) -> None:
    served = serve()
    served.record(status=None, outcome=outcome, attempts=attempts, usage_raw=None, capture="metadata")
    total = served.get("/api/requests")["total"]
    assert (total["unpriced"], total["not_sent"], total["cost_usd"]) == (1, 0, None)


def test_tail_starts_now_and_goes_on_in_the_order_stored(serve: Serve) -> None:
    served = serve()
    served.record()
    begin = served.get("/api/requests/tail")
    assert begin["requests"] == []
    newer, older = served.record(age_s=1), served.record(age_s=500)
    page = served.get(f"/api/requests/tail?after={begin['next']}")
    assert [row["request_id"] for row in page["requests"]] == [newer, older]
    first = served.get(f"/api/requests/tail?after={begin['next']}&limit=1")
    assert [row["request_id"] for row in first["requests"]] == [newer]
    rest = served.get(f"/api/requests/tail?after={first['next']}")
    assert [row["request_id"] for row in rest["requests"]] == [older]
    nothing = served.get(f"/api/requests/tail?after={begin['next']}&model=other")
    assert nothing["requests"] == []
    assert nothing["next"] == page["next"]


def test_one_request_shows_its_conversation_and_the_sum_behind_its_price(serve: Serve) -> None:
    served = serve()
    request_id = served.record(said="What is 2+2?", answer="4 <b>bold</b>")
    found = served.get(f"/api/requests/{request_id}")
    assert found["transcript"]["messages"][0]["parts"][0]["text"] == "What is 2+2?"
    assert found["transcript"]["output"][0]["text"] == "4 <b>bold</b>"
    assert json.loads(found["bodies"]["request"]["text"])["model"] == "gpt-5-mini"
    assert found["bodies"]["sent"] is None
    lines = found["price"]["lines"]
    assert sum(Decimal(line["usd"]) for line in lines) == Decimal(found["request"]["cost_usd"])
    assert {line["unit"]: line["tokens"] for line in lines} == {"input": 142, "output": 87}
    assert found["attempts"][0]["upstream"] == "openai"


def test_a_body_comes_byte_for_byte_and_only_as_a_download(serve: Serve) -> None:
    served = serve()
    request_id = served.record(said="<script>alert(1)</script>")
    answer = served.ask("GET", f"/api/requests/{request_id}/body/request")
    assert b"<script>" in answer.content
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert served.ask("GET", f"/api/requests/{request_id}/body/sent").status_code == 404
    assert served.ask("GET", f"/api/requests/{request_id}/body/secret").status_code == 404


@pytest.mark.parametrize("wanted", ["nonsense", "01a2079d-6a13-7614-8778-7e4a44b8efa5", "%27%20OR%201=1", "a" * 3000])
def test_an_unknown_request_is_not_found(serve: Serve, wanted: str) -> None:
    answer = serve().ask("GET", f"/api/requests/{wanted}")
    assert answer.status_code == 404
    assert answer.json()["error"]["hint"]


def test_explain_names_every_decision_in_order(serve: Serve) -> None:
    served = serve()
    tries = [
        Attempt(upstream="local", status=503, error_type="status", latency_us=1000),
        Attempt(upstream="openai", model="gpt-5-mini", status=200, started_us=1000, latency_us=9000),
    ]
    request_id = served.record(
        attempts=tries, fallback_from="local", prompt_name="support", prompt_version=7, prompt_alias="production"
    )
    steps = served.get(f"/api/requests/{request_id}/explain")["steps"]
    assert [step["step"] for step in steps] == [
        "key", "capture", "prompt", "route", "attempt 1", "attempt 2", "fallback", "outcome", "usage", "price",
    ]  # fmt: skip
    said = {step["step"]: step["decision"] for step in steps}
    assert said["fallback"] == "local failed, openai answered"
    assert said["prompt"] == "support@7, by alias production"
    assert "gpt-*" in said["route"]


def test_without_bodies_a_request_is_shown_with_what_is_known(serve: Serve) -> None:
    served = serve()
    request_id = served.record(capture="metadata")
    found = served.get(f"/api/requests/{request_id}")
    assert (found["bodies"], found["transcript"]) == (None, None)
    assert found["price"]["lines"]


def test_deleted_requests_are_gone_from_every_answer_and_noted(serve: Serve) -> None:
    served = serve()
    gone, kept = served.record(user_id="u-1"), served.record(user_id="u-2")
    assert served.ask("POST", "/api/requests/delete", body={"ids": [gone]}).json() == {"deleted": 1}
    assert [row["request_id"] for row in served.get("/api/requests")["requests"]] == [kept]
    assert served.ask("GET", f"/api/requests/{gone}").status_code == 404
    assert served.ask("POST", "/api/requests/delete", body={"filter": {"user": "u-2"}}).json() == {"deleted": 1}
    assert served.get("/api/requests")["total"]["requests"] == 0
    assert [entry["action"] for entry in served.get("/api/history")["entries"]][:2] == ["requests.delete"] * 2


def test_a_delete_that_says_nothing_clear_deletes_nothing(serve: Serve) -> None:
    served = serve()
    served.record()
    unclear: list[Any] = [{}, {"filter": {}}, {"ids": ["x"]}, {"ids": [], "filter": {"user": "u"}}, [1], "x"]
    for body in [*unclear, {"filter": {"usr": "u"}}, {"filter": {"before": "soon"}}]:
        assert served.ask("POST", "/api/requests/delete", body=body).status_code == 400, body
    assert served.get("/api/requests")["total"]["requests"] == 1


def test_exports_hold_the_chosen_rows(varied: Any) -> None:
    lines = varied.ask("GET", "/api/export?format=jsonl&bodies=1&project=default").text.splitlines()
    assert len(lines) == 6
    assert "messages" in json.loads(lines[0])["bodies"]["request"]["text"]
    rows = list(csv.DictReader(io.StringIO(varied.ask("GET", "/api/export?format=csv").text)))
    assert len(rows) == 7
    assert varied.ask("GET", "/api/export?format=xlsx").status_code == 400
    parquet = varied.ask("GET", "/api/export?format=parquet&bodies=1").content
    assert (parquet[:4], parquet[-4:]) == (b"PAR1", b"PAR1")
    assert not list((varied.control.home.path / "tmp").glob("export-*"))


def test_a_duckdb_export_opens_with_requests_and_attempts(varied: Any, tmp_path: Any) -> None:
    import duckdb

    target = tmp_path / "out.duckdb"
    target.write_bytes(varied.ask("GET", "/api/export?format=duckdb&bodies=1").content)
    with duckdb.connect(str(target), read_only=True) as connection:
        found = connection.execute("SELECT count(*), count(request), sum(cost_usd) FROM requests").fetchone()
        assert found is not None and found[:2] == (7, 7)
        assert connection.execute("SELECT count(*) FROM attempts").fetchone() == (7,)


def test_a_spreadsheet_formula_in_a_row_is_disarmed(serve: Serve) -> None:
    served = serve()
    served.record(user_id='=HYPERLINK("http://evil.example")')
    (row,) = csv.DictReader(io.StringIO(served.ask("GET", "/api/export?format=csv").text))
    assert row["user_id"].startswith("'=")

"""Keys, history, health, status, cost, SQL, the description and metrics."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from headgate.control.app import ROUTES
from headgate.snapshot import SnapshotReader

Serve = Callable[..., Any]


def test_a_created_key_is_shown_once_and_published_at_once(serve: Serve) -> None:
    served = serve()
    answer = served.ask("POST", "/api/keys", body={"name": "ci", "role": "developer", "expires_s": 3600})
    made = answer.json()
    assert answer.status_code == 201
    assert made["plaintext"].startswith("hg_")
    assert made["plaintext"] not in json.dumps(served.get("/api/keys"))
    assert served.get("/api/requests", key=made["plaintext"])["requests"] == []
    published = SnapshotReader(served.control.home.path).load()
    assert [entry.id for entry in published.keys.values()] == [made["key"]["id"]]
    assert made["plaintext"] not in json.dumps(served.get("/api/history"))


def test_rotating_with_overlap_keeps_both_keys_and_revoking_ends_one(serve: Serve) -> None:
    served = serve()
    old = served.ask("POST", "/api/keys", body={"name": "app", "role": "developer"}).json()
    new = served.ask("POST", f"/api/keys/{old['key']['id']}/rotate", body={"overlap_s": 60}).json()
    for made in (old, new):
        assert served.ask("GET", "/api/requests", key=made["plaintext"]).status_code == 200
    assert served.ask("POST", f"/api/keys/{old['key']['id']}/revoke", body={}).status_code == 200
    assert served.ask("GET", "/api/requests", key=old["plaintext"]).status_code == 401
    assert served.ask("GET", "/api/requests", key=new["plaintext"]).status_code == 200
    actions = [entry["action"] for entry in served.get("/api/history?object=app")["entries"]]
    assert actions == ["key.revoke", "key.rotate", "key.create"]
    generations = SnapshotReader(served.control.home.path).load().generation
    assert generations == 3


@pytest.mark.parametrize(
    "body", [{}, {"name": ""}, {"name": "x", "role": "king"}, {"name": "x", "expires_s": -1}, {"nam": "x"}]
)
def test_a_key_that_makes_no_sense_is_refused(serve: Serve, body: Any) -> None:
    answer = serve().ask("POST", "/api/keys", body=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


def test_history_can_be_read_as_of_a_time(serve: Serve) -> None:
    served = serve()
    served.ask("POST", "/api/keys", body={"name": "x"})
    assert served.get("/api/history?as_of=2020-01-01")["entries"] == []
    assert served.get("/api/history?object=nothing")["entries"] == []
    (entry,) = served.get("/api/history?limit=1")["entries"]
    assert entry["at"].endswith("Z")
    assert (entry["who"], entry["action"]) == ("local", "key.create")


def test_health_asks_the_log(serve: Serve) -> None:
    served = serve()
    assert served.get("/api/health") == {"status": "ok", "store": "ok", "lag_s": 0.0}
    served.control.ingest.problem = "The spool 0-1 cannot be read."  # the others go on
    assert served.get("/api/health")["status"] == "ok"
    served.control.ingest.problem, served.control.ingest.is_stalled = "Only 3 MB are free.", True
    assert served.get("/api/health")["status"] == "behind"


def test_status_tells_what_is_stored_and_configured_but_no_secret(serve: Serve) -> None:
    served = serve()
    served.record()
    found = served.get("/api/status")
    assert (found["requests"], found["last_24h"]["priced"]) == (1, 1)
    assert found["upstreams"][0]["key"] == "OPENAI_API_KEY"
    assert found["disk"]["log_bytes"] > 0
    assert found["health"]["status"] == "ok"


def test_cost_groups_and_states_its_coverage(serve: Serve) -> None:
    served = serve()
    served.record(tags={"team": "a"})
    served.record(tags={"team": "b"}, model="nobody-knows")
    served.record(purpose="eval")
    found = served.get("/api/cost?by=tag.team,day")
    assert {row["tag.team"]: row["unpriced"] for row in found["rows"]} == {"a": 0, "b": 1}
    assert (found["total"]["requests"], found["total"]["coverage"]) == (2, 0.5)
    known = next(row for row in found["rows"] if row["tag.team"] == "a")
    assert Decimal(known["cost_usd"]) == Decimal(found["total"]["cost_usd"])
    assert served.get("/api/cost?by=purpose&purpose=all")["total"]["requests"] == 3
    assert served.ask("GET", "/api/cost?by=colour").status_code == 400
    assert served.ask("GET", "/api/cost?by=model,model").status_code == 400


def test_a_websocket_costs_nothing_by_itself_and_how_long_it_was_open_is_no_latency(serve: Serve) -> None:
    served = serve()
    served.record(latency_us=200_000)
    served.record(endpoint="other", method="GET", status=101, usage_raw=None, latency_us=3_600_000_000)
    total = served.get("/api/cost?by=day")["total"]
    assert (total["requests"], total["not_priced"], total["coverage"]) == (2, 1, 1.0)
    assert total["latency_ms_p95"] == 200


def test_cost_by_key_names_the_key(serve: Serve) -> None:
    served = serve()
    made = served.ask("POST", "/api/keys", body={"name": "my-app"}).json()
    served.record(key_id=made["key"]["id"])
    assert [row["key"] for row in served.get("/api/cost?by=key")["rows"]] == ["my-app"]
    assert served.get("/api/requests?key=my-app")["total"]["requests"] == 1


def test_sql_answers_a_select_and_refuses_the_rest(serve: Serve) -> None:
    served = serve()
    served.record()
    answer = served.ask("POST", "/api/sql", body={"query": "SELECT model, cost_usd FROM requests", "max_rows": 5})
    found = answer.json()
    assert [column["name"] for column in found["columns"]] == ["model", "cost_usd"]
    assert (found["rows"][0][0], found["truncated"]) == ("gpt-5-mini", False)
    refused = served.ask("POST", "/api/sql", body={"query": "COPY requests TO '/tmp/x'"})
    assert refused.status_code == 400
    assert served.ask("POST", "/api/sql", body={"query": "SELECT 1", "max_rows": 0}).status_code == 400


def test_the_description_lists_exactly_what_is_served(serve: Serve) -> None:
    described = serve().get("/api/openapi.json")
    listed = {
        (method.upper(), path, operation["x-headgate-role"])
        for path, operations in described["paths"].items()
        for method, operation in operations.items()
    }
    assert listed == {(route.method, route.address, route.role) for route in ROUTES if not route.is_page}
    ids = [op["operationId"] for operations in described["paths"].values() for op in operations.values()]
    assert len(ids) == len(set(ids))


def test_metrics_are_prometheus_text_with_escaped_labels(serve: Serve) -> None:
    served = serve()
    served.record()
    served.record(model='odd"\nname', model_requested=None)
    text = served.ask("GET", "/metrics").text
    assert "\nheadgate_rows 2\n" in text
    for line in text.splitlines():
        assert line.startswith("#") or line.rpartition(" ")[2].replace(".", "").replace("-", "").isdigit(), line


def test_what_is_not_there_is_said_in_the_same_shape(serve: Serve) -> None:
    served = serve()
    missing = served.ask("GET", "/api/nothing")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")
    wrong = served.ask("POST", "/api/status")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")
    assert served.ask("GET", "/api/keys/").status_code == 404
    assert served.ask("GET", "/ui/nothing").headers["content-type"].startswith("text/html")

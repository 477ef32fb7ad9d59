"""Who may reach what: every route with every kind of key, sessions, origins."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from headgate.control.access import OPEN
from headgate.control.app import ROUTES
from headgate.control.session import ABSOLUTE_S, COOKIE, IDLE_S, MAX_SESSIONS, Sessions
from headgate.core import ids
from headgate.snapshot import ROLES

Serve = Callable[..., Any]
BAD_KEY = "hg_" + "x" * 43


def test_every_route_lets_in_exactly_the_roles_it_states(serve: Serve) -> None:
    served = serve(require_key=True)
    given: dict[str, str | None] = {str(role): served.key(role) for role in ROLES}
    order = list(given)
    given |= {"none": None, "wrong": BAD_KEY}
    for route in ROUTES:
        path = re.sub(r"\{\w+(:path)?\}", "01a2079d-6a13-7614-8778-7e4a44b8efa5", route.path)
        for holder, key in given.items():
            status = served.ask(route.method, path, key=key).status_code
            is_let_in = status not in (401, 403) and not _is_sent_to_login(served, route.method, path, key)
            # Forms without their token are refused behind the door; the door itself is what is tested here.
            if route.method == "POST" and route.is_page and status == 403:
                continue
            if route.role == OPEN:
                expected = True
            elif holder in ("none", "wrong"):
                expected = False
            else:
                expected = order.index(holder) >= order.index(route.role)
            assert is_let_in == expected, (route.method, route.path, holder, status)


def _is_sent_to_login(served: Any, method: str, path: str, key: str | None) -> bool:
    if method != "GET" or not path.startswith(("/ui/requests", "/ui/prompts", "/ui/runs", "/ui/kb", "/ui/models")):
        return False
    return str(served.ask(method, path, key=key).headers.get("location", "")).startswith("/ui/login")


def test_only_pages_to_sign_in_are_open() -> None:
    assert {route.path for route in ROUTES if route.role == OPEN} == {
        "/", "/ui", "/ui/", "/ui/login", "/ui/welcome", "/ui/logout", "/ui/static/{name}",
    }  # fmt: skip


def test_on_open_loopback_a_missing_or_foreign_credential_has_every_right_but_a_bad_key_has_none(serve: Serve) -> None:
    served = serve()
    assert served.ask("GET", "/api/keys").status_code == 200
    assert served.ask("GET", "/api/keys", headers={"authorization": "Bearer sk-proj-123456789"}).status_code == 200
    for name in ("x-headgate-key", "x-api-key", "api-key"):
        assert served.ask("GET", "/api/keys", headers={name: BAD_KEY}).status_code == 401
    assert served.ask("GET", "/api/keys", headers={"authorization": f"Bearer {BAD_KEY}"}).status_code == 401
    assert served.ask("GET", "/api/keys", headers={"x-headgate-key": "sk-nonsense"}).status_code == 401


def test_a_key_is_taken_from_each_header_that_sdks_use(serve: Serve) -> None:
    served = serve(require_key=True)
    key = served.key("developer")
    for headers in ({"x-headgate-key": key}, {"authorization": f"bearer {key}"}, {"x-api-key": key}, {"api-key": key}):
        assert served.ask("GET", "/api/requests", headers=headers).status_code == 200
    refused = served.ask("GET", "/api/requests", headers={"authorization": "Bearer sk-proj-123456789"})
    assert refused.status_code == 401
    assert "sk-p…" in refused.json()["error"]["message"]
    assert "sk-proj" not in refused.text


def test_an_ended_key_says_so_and_opens_nothing(serve: Serve) -> None:
    served = serve(require_key=True)
    admin, victim = served.key("admin"), served.key("developer")
    entry = next(k for k in served.get("/api/keys", key=admin)["keys"] if k["role"] == "developer")
    assert served.ask("POST", f"/api/keys/{entry['id']}/revoke", key=admin, body={}).status_code == 200
    refused = served.ask("GET", "/api/requests", key=victim)
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "key_revoked")
    assert refused.headers["www-authenticate"] == "Bearer"


def test_a_key_of_a_project_sees_and_deletes_only_its_own_requests(serve: Serve) -> None:
    served = serve(require_key=True)
    mine, other = served.record(project="blue"), served.record(project="green")
    key = served.key("developer", project="blue")
    assert [row["request_id"] for row in served.get("/api/requests", key=key)["requests"]] == [mine]
    assert served.get("/api/requests?project=green", key=key)["requests"] == []
    assert served.get("/api/cost?by=project", key=key)["total"]["requests"] == 1
    for path in ("", "/explain", "/body/request"):
        assert served.ask("GET", f"/api/requests/{other}{path}", key=key).status_code == 404
    assert served.ask("GET", f"/ui/requests/{other}", key=key).status_code == 404
    assert served.ask("POST", "/api/sql", key=key, body={"query": "SELECT 1"}).status_code == 403
    deleted = served.ask("POST", "/api/requests/delete", key=key, body={"ids": [mine, other]})
    assert deleted.json() == {"deleted": 1}
    green = served.ask("POST", "/api/requests/delete", key=key, body={"filter": {"project": "green"}})
    assert green.json() == {"deleted": 0}
    everything = served.get("/api/requests", key=served.key("admin"))["requests"]
    assert [row["request_id"] for row in everything] == [other]


def test_a_key_of_a_project_learns_nothing_of_other_projects(serve: Serve) -> None:
    served = serve(require_key=True)
    served.record(project="blue")
    for _ in range(3):
        served.record(project="green")
    served.key("app", project="green")
    key = served.key("developer", project="blue")
    refused = served.ask("GET", "/api/history", key=key)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
    assert served.ask("GET", "/metrics", key=key).status_code == 403
    status = served.get("/api/status", key=key)
    assert (status["requests"], status["last_24h"]["requests"], status["keys"]) == (1, 1, 1)
    assert not {"workers", "counters", "store", "disk", "growth_bytes_per_day", "snapshot"} & set(status)
    assert status["health"]["status"] == "ok"
    assert "lag_s" in status["health"]
    page = served.ask("GET", "/ui/requests", key=key).text
    assert "developer of blue" in page
    assert "green" not in page
    everything = served.get("/api/status", key=served.key("developer"))
    assert (everything["requests"], everything["keys"]) == (4, 3)
    assert everything["disk"]["log_bytes"] > 0
    assert served.get("/api/history", key=served.key("developer", project="default"))["entries"]


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_a_change_asked_for_by_another_site_is_refused(serve: Serve, headers: dict[str, str]) -> None:
    served = serve()
    answer = served.ask("POST", "/api/keys", headers=headers, body={"name": "x"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "foreign_origin")


def test_a_change_from_our_own_page_or_a_configured_host_is_let_through(serve: Serve) -> None:
    served = serve(hosts=["gate.example"])
    for origin in ("http://127.0.0.1:4400", "https://gate.example"):
        headers = {"origin": origin, "sec-fetch-site": "same-origin"}
        assert served.ask("POST", "/api/keys", headers=headers, body={"name": "x"}).status_code == 201


def test_a_browser_form_cannot_call_the_api(serve: Serve) -> None:
    answer = serve().ask("POST", "/api/keys", form={"name": "x"})
    assert answer.status_code == 400


def test_a_session_ends_by_idleness_by_age_and_by_sign_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("headgate.control.session.monotonic_s", lambda: now[0])
    sessions = Sessions()
    idle, busy, left = sessions.begin("d"), sessions.begin("d"), sessions.begin("d")
    sessions.end(left)
    assert sessions.find(left) is None
    while now[0] < 1000 + ABSOLUTE_S:
        assert sessions.find(busy) is not None
        now[0] += IDLE_S - 1
    assert sessions.find(busy) is None
    assert sessions.find(idle) is None
    assert len(sessions) == 0


def test_sessions_are_bounded_and_never_kept_in_plain() -> None:
    sessions = Sessions()
    tokens = [sessions.begin("d") for _ in range(MAX_SESSIONS + 5)]
    assert len(sessions) == MAX_SESSIONS
    assert sessions.find(tokens[0]) is None
    assert tokens[-1] not in repr(vars(sessions))
    assert ids.monotonic_s() > 0


def test_signing_in_gives_a_hidden_cookie_and_signing_out_takes_it(serve: Serve) -> None:
    served = serve(require_key=True)
    key = served.key("developer")
    sent_away = served.ask("GET", "/ui/requests?model=gpt-5")
    assert sent_away.headers["location"] == "/ui/login?to=%2Fui%2Frequests%3Fmodel%3Dgpt-5"
    page = served.ask("GET", sent_away.headers["location"])
    answer = served.ask("POST", "/ui/login", form={"key": key, "csrf": csrf_of(page.text), "to": "/ui/requests"})
    assert answer.status_code == 303
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    assert {"Path=/", "Secure", "HttpOnly", "SameSite=Strict"} <= set(cookie.split("; "))
    session = {"cookie": cookie.split(";")[0]}
    assert served.ask("GET", "/ui/welcome?to=/ui/requests", headers=session).headers["location"] == "/ui/requests"
    inside = served.ask("GET", "/ui/requests", headers=session)
    assert inside.status_code == 200
    assert served.ask("POST", "/ui/logout", headers=session, form={"csrf": "wrong"}).status_code == 403
    out = served.ask("POST", "/ui/logout", headers=session, form={"csrf": csrf_of(inside.text)})
    assert "Max-Age=0" in out.headers["set-cookie"]
    assert served.ask("GET", "/ui/requests", headers=session).status_code == 303


def test_revoking_the_key_ends_its_sessions(serve: Serve) -> None:
    served = serve(require_key=True)
    key, admin = served.key("developer"), served.key("admin")
    page = served.ask("GET", "/ui/login")
    cookie = served.ask("POST", "/ui/login", form={"key": key, "csrf": csrf_of(page.text)}).headers["set-cookie"]
    session = {"cookie": cookie.split(";")[0]}
    assert served.ask("GET", "/ui/requests", headers=session).status_code == 200
    entry = next(k for k in served.get("/api/keys", key=admin)["keys"] if k["role"] == "developer")
    served.ask("POST", f"/api/keys/{entry['id']}/revoke", key=admin, body={})
    assert served.ask("GET", "/ui/requests", headers=session).status_code == 303


def test_signing_in_refuses_wrong_keys_weak_roles_and_foreign_targets(serve: Serve) -> None:
    served = serve(require_key=True)
    csrf = csrf_of(served.ask("GET", "/ui/login").text)
    assert served.ask("POST", "/ui/login", form={"key": BAD_KEY, "csrf": csrf}).status_code == 401
    assert served.ask("POST", "/ui/login", form={"key": served.key("app"), "csrf": csrf}).status_code == 403
    assert served.ask("POST", "/ui/login", form={"key": served.key("developer"), "csrf": ""}).status_code == 403
    key = served.key("developer")
    for target in ("https://evil.example", "//evil.example", "/ui//evil.example", "/ui/\\evil", "/api/keys"):
        answer = served.ask("POST", "/ui/login", form={"key": key, "csrf": csrf, "to": target})
        assert answer.headers["location"] == "/ui/welcome?to=%2Fui%2Frequests"


def test_failed_sign_ins_are_limited_to_ten_a_minute(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("headgate.control.session.monotonic_s", lambda: now[0])
    served = serve(require_key=True)
    csrf, key = csrf_of(served.ask("GET", "/ui/login").text), served.key("developer")

    def sign_in(given: str) -> Any:
        return served.ask("POST", "/ui/login", form={"key": given, "csrf": csrf})

    for _ in range(10):
        assert sign_in(BAD_KEY).status_code == 401
    for given in (BAD_KEY, key):
        refused = sign_in(given)
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "60"
        assert "wait" in refused.text.lower()
    now[0] += 60.1
    assert sign_in(key).status_code == 303
    for _ in range(30):
        assert sign_in(key).status_code == 303
    assert sign_in(BAD_KEY).status_code == 401


def test_a_browser_that_drops_the_cookie_is_told_why(serve: Serve) -> None:
    served = serve(require_key=True)
    lost = served.ask("GET", "/ui/welcome?to=/ui/requests")
    assert "did not keep" in served.ask("GET", lost.headers["location"]).text


def csrf_of(page: str) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found is not None
    return found[1]

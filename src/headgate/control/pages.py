"""The pages: requests, one request, and the door."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from headgate.control import details, queries
from headgate.control.access import NOBODY, OPEN, Principal, given_key
from headgate.control.api_requests import chosen_filter, delete_ids, path_id, request_id_of, send_body
from headgate.control.bodies import shown_body, shown_talk
from headgate.control.filters import FILTERS, Filter, moment, single_values
from headgate.control.html import page, read_form, send_static
from headgate.control.kb_search import shown_chunks
from headgate.control.keyring import digest_of
from headgate.control.routes import ControlRoute
from headgate.control.run_state import evidence_of
from headgate.control.scores import scores_of_request
from headgate.control.session import COOKIE, FAILURES_S, clear_cookie, set_cookie
from headgate.control.state import ControlApp
from headgate.core.errors import HeadgateError, KeyRefused
from headgate.core.ids import now_us, utc
from headgate.core.routing import is_glob, route_for

_HOME = "/ui/requests"
_PAGE_ROWS = 50
_BUCKETS = 72
_STRIP_HEIGHT = 48
_RANGES = (("1h", "last hour"), ("24h", "last 24 hours"), ("7d", "last 7 days"), ("30d", "last 30 days"))
_ANY_TIME = "all"
_ENDPOINTS = (
    "openai.chat", "openai.responses", "openai.realtime", "openai.completions", "openai.embeddings",
    "anthropic.messages", "other",
)  # fmt: skip
_OUTCOMES = ("ok", "refused", "upstream_error", "upstream_aborted", "timeout", "client_closed", "interrupted")
_PURPOSES = ("traffic", "eval", "judge", "embedding", "shadow", "probe", "all")
_SHOWN = ("since", "until", "model", "prompt", "key", "endpoint", "outcome", "purpose", "q", "errors")
_CAPTURE_WORDS = {
    "metadata": "Only metadata was kept for this request.",
    "none": "No content was kept for this request.",
    "expired": "The content is past its retention ([log] body_days).",
}
_SAMPLE_MODELS = ("gpt-5-mini", "claude-haiku-4-5", "gemini-2.5-flash", "mistral-small-latest")


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One slice of time in the strip."""

    at: datetime
    requests: int
    errors: int
    x: int
    y: float
    height: float
    bad_y: float
    bad_height: float


@dataclass(frozen=True, kw_only=True)
class _Span:
    since: datetime
    until: datetime


async def requests_page(control: ControlApp, request: Request, who: Principal) -> Response:
    """The table of requests, its filters in the address."""
    values = single_values(request.query_params.multi_items(), [*FILTERS, "before", "after"], tags=True)
    cursors: dict[str, str] = {name: request_id_of(values.pop(name)) for name in ("before", "after") if name in values}
    if len(cursors) == 2:
        del cursors["after"]
    asked = {name: value for name, value in values.items() if (name, value) != ("since", _ANY_TIME)}
    if "since" not in values and "until" not in values:
        asked["since"] = "24h"
    chosen = chosen_filter(control, asked, who, default_purpose="traffic")
    shown = await control.read(_page_values, control, chosen, asked, cursors)
    shown_since = values.get("since", asked.get("since", _ANY_TIME))
    ranges = [*_RANGES, (_ANY_TIME, "any time")]
    if shown_since not in dict(ranges):
        ranges.append((shown_since, f"since {shown_since}"))
    return page(
        control,
        "requests.html",
        who,
        chosen={name: values.get(name, "") for name in _SHOWN}
        | {"since": shown_since, "purpose": asked.get("purpose", "traffic")},
        kept=[(name, value) for name, value in values.items() if name not in _SHOWN],
        is_narrowed=bool(values) or bool(cursors),
        ranges=ranges,
        endpoints=_ENDPOINTS,
        outcomes=_OUTCOMES,
        purposes=_PURPOSES,
        key_names=control.keyring.names(who.sees_project),
        key_name=lambda key_id: control.keyring.name_of(key_id) or key_id or "",
        today=utc(now_us()).date(),
        older=_address(values, before=shown["older_id"]),
        newer=_address(values, after=shown["newer_id"]),
        newest=_address(values),
        any_time=_address({**values, "since": _ANY_TIME}),
        older_exists=shown_since != _ANY_TIME,
        base_url=_base_url(request),
        needs_key=control.access.needs_key,
        sample_model=sample_model(control),
        **shown,
    )


def _page_values(
    control: ControlApp, chosen: Filter, asked: Mapping[str, str], cursors: Mapping[str, str]
) -> dict[str, Any]:
    """Blocking: the few queries behind the page; one that takes too long is said and left out."""
    problems: list[str] = []
    shown: dict[str, Any] = {
        "rows": [], "older_id": None, "newer_id": None, "total": None, "bars": [], "is_empty_log": False,
        "offered": {"model": [], "prompt": []}, "problems": problems, "peak": 0, "slice": "",
        "strip_since": None, "strip_until": None,
    }  # fmt: skip
    try:
        found = queries.requests_page(control.log, chosen, limit=_PAGE_ROWS, **cursors)
        shown |= {"rows": found.rows, "older_id": found.older, "newer_id": found.newer}
        shown["total"] = total = queries.totals(control.log, chosen)
        if total["requests"]:
            span = _span(control, chosen, asked)
            shown |= _strip(control, chosen, span)
            shown["offered"] = queries.suggestions(control.log, chosen)
        elif not found.rows:
            shown["is_empty_log"] = not queries.has_requests(control.log)
    except HeadgateError as error:
        problems.append(error.sentence)
    return shown


def _span(control: ControlApp, chosen: Filter, asked: Mapping[str, str]) -> _Span:
    until = moment(asked["until"], "until") if "until" in asked else utc(now_us()).replace(tzinfo=None)
    since = moment(asked["since"], "since") if "since" in asked else queries.oldest(control.log, chosen) or until
    return _Span(since=min(since, until - timedelta(minutes=1)), until=until)


def _strip(control: ControlApp, chosen: Filter, span: _Span) -> dict[str, Any]:
    slices = queries.strip(control.log, chosen, since=span.since, until=span.until, buckets=_BUCKETS)
    width = (span.until - span.since) / _BUCKETS
    peak = max(requests for requests, _ in slices) or 1
    bars = []
    for index, (requests, errors) in enumerate(slices):
        height = _bar_height(requests, peak)
        bad = _bar_height(errors, peak)
        bars.append(
            Bar(
                at=span.since + width * index,
                requests=requests,
                errors=errors,
                x=index * 10 + 1,
                y=_STRIP_HEIGHT - height,
                height=height,
                bad_y=_STRIP_HEIGHT - bad,
                bad_height=bad,
            )
        )
    return {
        "bars": bars,
        "peak": peak,
        "slice": _width_words(width),
        "strip_since": span.since,
        "strip_until": span.until,
    }


def _bar_height(value: int, peak: int) -> float:
    """Never less than can be seen when there is anything to see."""
    return max(2.0, round(_STRIP_HEIGHT * value / peak, 1)) if value else 0.0


def _width_words(width: timedelta) -> str:
    seconds = width.total_seconds()
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


async def request_page(control: ControlApp, request: Request, who: Principal) -> Response:
    """One request with everything behind it."""
    single_values(request.query_params.multi_items(), [])
    found = await control.read(details.details_of, control, path_id(request), who.sees_project)
    row = found.row
    kept_nothing = "No bodies are kept for this request, so its messages cannot be shown."
    return page(
        control,
        "request.html",
        who,
        row=row,
        talk=None if found.talk is None else shown_talk(found.talk),
        capture_words=_CAPTURE_WORDS.get(row["capture"], kept_nothing),
        bodies=[shown_body(body) for body in found.readable],
        timing=timing_of(row),
        price={"lines": details.lines_of(found.priced.cost), "note": found.price_note},
        steps=await control.read(details.steps_of, control, found),
        chunks=await control.read(shown_chunks, control, row),
        attempts=found.attempts,
        evidence=await control.read(evidence_of, control, row),
        scores=await control.read(scores_of_request, control.log, str(row["request_id"])),
        key_name=lambda key_id: f"{name} ({key_id})" if (name := control.keyring.name_of(key_id)) else key_id,
        may_delete=who.may("developer"),
    )


def timing_of(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The phases of a request, as far as they were measured, for a bar 1000 wide."""
    whole = row["latency_ms"]
    if not whole:
        return []
    overhead = min(row["overhead_ms"] or 0.0, whole)
    first = whole if row["ttft_ms"] is None else min(max(row["ttft_ms"], overhead), whole)
    phases = [
        ("Headgate", overhead, 1),
        ("Waiting for the first byte" if row["ttft_ms"] is not None else "Upstream", first - overhead, 2),
        ("Receiving the answer", whole - first, 3),
    ]
    pieces: list[dict[str, Any]] = []
    x = 0.0
    for name, ms, color in phases:
        if ms > 0:
            width = 1000 * ms / whole
            pieces.append(
                {"name": name, "ms": ms, "color": color, "x": round(x, 2), "width": round(max(width, 1.0), 2)}
            )
            x += width
    return pieces


async def delete_page(control: ControlApp, request: Request, who: Principal) -> Response:
    """The delete button of one request."""
    await read_form(control, request, who)
    await delete_ids(control, [path_id(request)], who)
    return RedirectResponse(_HOME, status_code=303)


async def login_page(control: ControlApp, request: Request, who: Principal) -> Response:
    """The door: asks for a key, or lets through who has one already."""
    to = _safe_target(request.query_params.get("to", ""))
    if who.may("developer") and who.via != "nobody":
        return RedirectResponse(to, status_code=303)
    problem = None
    if request.query_params.get("kept") == "0":
        problem = (
            "The key is good, but this browser did not keep the session cookie. It is kept over https, and over http "
            "on localhost and 127.0.0.1 only: put TLS in front, or open the page by one of these names."
        )
    return page(control, "login.html", None, problem=problem, to=to)


async def login(control: ControlApp, request: Request, who: Principal) -> Response:
    """Exchanges a key for a session; the session before, if any, ends."""
    fields = await read_form(control, request, NOBODY)
    to = _safe_target(fields.get("to", ""))
    key = fields.get("key", "").strip()
    if not control.sessions.may_try():
        problem = "Too many keys were refused here in the last minute. Wait a minute and sign in again."
        answer = page(control, "login.html", None, status_code=429, problem=problem, to=to)
        answer.headers["retry-after"] = str(round(FAILURES_S))
        return answer
    try:
        entry = control.keyring.entry(given_key({"x-headgate-key": key}) or "")
    except KeyRefused as error:
        control.sessions.note_failure()
        return page(control, "login.html", None, status_code=401, problem=error.sentence, to=to)
    if entry.role == "app":
        problem = f'Key "{entry.name}" has the role app; these pages need developer or above.'
        return page(control, "login.html", None, status_code=403, problem=problem, to=to)
    control.sessions.end(request.cookies.get(COOKIE))
    token = control.sessions.begin(digest_of(key))
    # One more step shows whether the browser kept the cookie.
    moved = RedirectResponse(f"/ui/welcome?{urlencode({'to': to})}", status_code=303)
    moved.headers["set-cookie"] = set_cookie(token)
    return moved


async def welcome(control: ControlApp, request: Request, who: Principal) -> Response:
    """Behind the door: goes on to the page asked for when the session is there."""
    to = _safe_target(request.query_params.get("to", ""))
    if who.via == "nobody":
        return RedirectResponse(f"/ui/login?{urlencode({'to': to, 'kept': '0'})}", status_code=303)
    return RedirectResponse(to, status_code=303)


async def logout(control: ControlApp, request: Request, who: Principal) -> Response:
    """Ends the session."""
    if who.via == "session":
        await read_form(control, request, who)
        control.sessions.end(request.cookies.get(COOKIE))
    answer = RedirectResponse("/ui/login", status_code=303)
    answer.headers["set-cookie"] = clear_cookie()
    return answer


async def go_home(control: ControlApp, request: Request, who: Principal) -> Response:
    """`/` leads to the requests."""
    return RedirectResponse(_HOME, status_code=303)


def login_address(request: Request) -> str:
    """Where a browser without a session is sent, to come back afterwards."""
    query = request.scope["query_string"].decode("latin-1")
    target = request.scope["path"] + (f"?{query}" if query else "")
    return f"/ui/login?{urlencode({'to': _safe_target(target)})}"


def _safe_target(text: str) -> str:
    """A page of ours and nothing else."""
    is_ours = (
        text.startswith("/ui/") and len(text) < 2000 and text.isprintable() and "\\" not in text and "//" not in text
    )
    return text if is_ours and not text.startswith(("/ui/login", "/ui/welcome", "/ui/logout")) else _HOME


def _address(values: Mapping[str, str], **cursor: str | None) -> str | None:
    """The same question with another cursor; None when the cursor leads nowhere."""
    if cursor and not any(cursor.values()):
        return None
    query = urlencode({**values, **{name: value for name, value in cursor.items() if value}})
    return f"{_HOME}?{query}" if query else _HOME


def _base_url(request: Request) -> str:
    scheme = "https" if request.headers.get("x-forwarded-proto") == "https" else "http"
    return f"{scheme}://{request.headers.get('host', '127.0.0.1:4400')}"


def sample_model(control: ControlApp) -> str:
    """A model name that this server would route."""
    own = next((route.model for route in control.settings.routes if not is_glob(route.model)), None)
    if own is not None:
        return own
    named = (name for name in _SAMPLE_MODELS if (route := route_for(control.settings, name)) and route.model != "*")
    return next(named, _SAMPLE_MODELS[0])


ROUTES: tuple[ControlRoute, ...] = (
    ControlRoute(method="GET", path="/", role=OPEN, handler=go_home, summary="Leads to the requests", is_page=True),
    ControlRoute(method="GET", path="/ui", role=OPEN, handler=go_home, summary="Leads to the requests", is_page=True),
    ControlRoute(method="GET", path="/ui/", role=OPEN, handler=go_home, summary="Leads to the requests", is_page=True),
    ControlRoute(method="GET", path="/ui/login", role=OPEN, handler=login_page, summary="Sign in", is_page=True),
    ControlRoute(method="POST", path="/ui/login", role=OPEN, handler=login, summary="Sign in", is_page=True),
    ControlRoute(method="GET", path="/ui/welcome", role=OPEN, handler=welcome, summary="Signed in", is_page=True),
    ControlRoute(method="POST", path="/ui/logout", role=OPEN, handler=logout, summary="Sign out", is_page=True),
    ControlRoute(
        method="GET", path="/ui/static/{name}", role=OPEN, handler=send_static, summary="Style and icon", is_page=True
    ),
    ControlRoute(
        method="GET", path="/ui/requests", role="developer", handler=requests_page, summary="Requests", is_page=True
    ),
    ControlRoute(
        method="GET",
        path="/ui/requests/{id}",
        role="developer",
        handler=request_page,
        summary="One request",
        is_page=True,
    ),
    ControlRoute(
        method="GET",
        path="/ui/requests/{id}/body/{name}",
        role="developer",
        handler=send_body,
        summary="One body",
        is_page=True,
    ),
    ControlRoute(
        method="POST",
        path="/ui/requests/{id}/delete",
        role="developer",
        handler=delete_page,
        summary="Delete one request",
        is_page=True,
    ),
)

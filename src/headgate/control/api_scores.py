"""The API of scores: what applications and people say of answers, by request id."""

import math
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from headgate.control.access import Principal
from headgate.control.api_requests import request_id_of
from headgate.control.eval_shapes import MAX_SCORES, PushedScore, PushScores, schema_of
from headgate.control.log_rows import CORRECTION
from headgate.control.routes import ControlRoute, JSONResponse, read_json
from headgate.control.rows import clean
from headgate.control.state import ControlApp
from headgate.core.errors import Forbidden, MalformedRequest, NotFound
from headgate.core.ids import now_us, utc
from headgate.store import lookup

_MAX_BYTES = 8 << 20
_MAX_NAME = 100
_MAX_LABEL = 200
_MAX_TEXT = 20_000


async def push_scores(control: ControlApp, request: Request, who: Principal) -> Response:
    """`{"stored": rows}`, all or none; an app key may judge only requests that were made with it."""
    wanted = await read_json(request, PushScores, _MAX_BYTES)
    if not 0 < len(wanted.scores) <= MAX_SCORES:
        raise MalformedRequest(
            f"{len(wanted.scores)} scores cannot be stored at once.", hint=f"Send 1 to {MAX_SCORES}."
        )
    rows = [row for number, score in enumerate(wanted.scores) for row in _rows(number, score)]
    stored = await control.read(_store, control, rows, who)
    return JSONResponse({"stored": stored})


def _store(control: ControlApp, rows: Sequence[dict[str, Any]], who: Principal) -> int:
    ids = list(dict.fromkeys(row["request_id"] for row in rows))
    calls = lookup.calls_of_ids(control.log, ids)
    for request_id in ids:
        call = calls.get(request_id)
        is_hidden = call is None or (who.sees_project is not None and call.project != who.sees_project)
        is_own = call is not None and (who.may("developer") or (who.key_id is not None and call.key_id == who.key_id))
        if is_hidden or not is_own:
            # An app learns nothing of requests that are not its own.
            if call is not None and who.may("developer"):
                raise Forbidden(f"The request {request_id} belongs to another project.")
            raise NotFound(
                f"There is no request {request_id} that this key may judge.",
                code="request_not_found",
                hint="A new one appears within two seconds of its answer; an app key judges its own requests.",
            )
    control.log.append("scores", rows)
    return len(rows)


def _rows(number: int, score: PushedScore) -> list[dict[str, Any]]:
    """A score as one row, a correction as a second: its text is content and goes when bodies go."""
    where = f"scores[{number}]"
    request_id = request_id_of(score.request_id)
    if not 0 < len(score.name) <= _MAX_NAME or not score.name.isprintable():
        raise MalformedRequest(f"{where}: the name has 1 to {_MAX_NAME} printable signs.")
    if score.value is not None and not math.isfinite(score.value):
        raise MalformedRequest(f"{where}: the value is no number.")
    for name, most in (("label", _MAX_LABEL), ("comment", _MAX_TEXT), ("correction", _MAX_TEXT)):
        if len(getattr(score, name) or "") > most:
            raise MalformedRequest(f"{where}: {name} has more than {most} signs.")
    is_correction = score.name == CORRECTION
    correction = score.correction or (score.comment if is_correction else None)
    base = {
        "request_id": request_id,
        "source": score.source,
        "created_at": utc(now_us()).replace(tzinfo=None),
    }
    rows = []
    if not is_correction and (score.value is not None or score.label is not None or score.comment is not None):
        label = None if score.label is None else clean(score.label)
        comment = None if score.comment is None else clean(score.comment)
        rows.append({**base, "name": clean(score.name), "value": score.value, "label": label, "comment": comment})
    if correction:
        rows.append({**base, "name": CORRECTION, "comment": clean(correction)})
    if not rows:
        raise MalformedRequest(f"{where}: there is neither value, label, comment nor correction.")
    return rows


ROUTES: tuple[ControlRoute, ...] = (
    ControlRoute(
        method="POST",
        path="/api/scores",
        role="app",
        handler=push_scores,
        summary="Store judgements of requests; an app key judges its own requests only",
        body=schema_of(PushScores),
        errors=(400, 404),
    ),
)

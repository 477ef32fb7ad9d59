"""The demo upstream as an application under ``/v1``: OpenAI's and Anthropic's paths, believable delays, and model
names that fail on purpose (see `faults`).
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Literal

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from headgate.providers.demo import anthropic_shapes, faults, openai_responses, openai_shapes
from headgate.providers.demo.ask import AskError, Json
from headgate.providers.demo.pace import Pace, pace_of
from headgate.providers.demo.reading import Answer, dump, identity, parse, seed_of

_log = logging.getLogger(__name__)
MOST_BODY_BYTES = 64 << 20
Dialect = Literal["openai", "anthropic"]
_Answerer = Callable[[Json, bytes], Answer]

_ANSWERERS: dict[str, _Answerer] = {
    "/v1/chat/completions": openai_shapes.chat,
    "/v1/completions": openai_shapes.completions,
    "/v1/embeddings": openai_shapes.embeddings,
    "/v1/responses": openai_responses.responses,
    "/v1/messages": anthropic_shapes.messages,
    "/v1/messages/count_tokens": anthropic_shapes.count_tokens,
}


def create_app(*, speed: float = 1.0) -> Starlette:
    """The application; ``speed`` 2 answers twice as fast, 0 without any delay."""
    routes = [Route(path, _answering(answerer, speed), methods=["POST"]) for path, answerer in _ANSWERERS.items()]
    routes += [
        Route("/v1/models", _models, methods=["GET"]),
        Route("/v1/models/{name:path}", _model, methods=["GET"]),
        Route("/{path:path}", _unknown, methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]),
    ]
    return Starlette(routes=routes)


def _dialect(request: Request) -> Dialect:
    is_anthropic = "anthropic-version" in request.headers or request.url.path.startswith("/v1/messages")
    return "anthropic" if is_anthropic else "openai"


def _headers(request: Request, seed: bytes) -> dict[str, str]:
    name = "request-id" if _dialect(request) == "anthropic" else "x-request-id"
    return {name: identity("req_", seed), "server": "headgate-demo"}


def _refusal(request: Request, error: AskError, seed: bytes) -> Response:
    headers = {**_headers(request, seed), **error.headers}
    if _dialect(request) == "anthropic":
        body = anthropic_shapes.error_body(error, identity("req_", seed))
    else:
        body = openai_shapes.error_body(error)
    return Response(dump(body), status_code=error.status, headers=headers, media_type="application/json")


async def _body(request: Request) -> bytes:
    pieces: list[bytes] = []
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > MOST_BODY_BYTES:
            raise AskError(f"The request body is over {MOST_BODY_BYTES >> 20} MB.", status=413)
        pieces.append(piece)
    return b"".join(pieces)


def _answering(answerer: _Answerer, speed: float) -> Callable[[Request], object]:
    async def answering(request: Request) -> Response:
        seed = seed_of(request.url.path, b"")
        try:
            body = await _body(request)
            seed = seed_of(request.url.path, body)
            parsed = parse(body)
            await faults.before(parsed.get("model"))
            answer = answerer(parsed, seed)
        except AskError as error:
            return _refusal(request, error, seed)
        except ClientDisconnect:
            return Response(status_code=400)
        except RecursionError:
            return _refusal(request, AskError("The request is nested too deeply."), seed)
        except Exception:
            # The border of a request: a defect here must answer in the dialect, and the next request may be fine.
            _log.exception("the demo provider failed on %s", request.url.path)
            return _refusal(request, AskError("The demo provider has a defect.", status=500, kind="server_error"), seed)
        return await _paced(answer, pace_of(seed, speed), _headers(request, seed))

    return answering


async def _paced(answer: Answer, pace: Pace, headers: dict[str, str]) -> Response:
    is_cut = faults.is_cut(answer.model)
    if answer.events is not None:
        await _wait(pace.first_token_s)
        response: Response = StreamingResponse(_stream(answer, pace), headers=headers, media_type="text/event-stream")
        return faults.CutStream(list(answer.events), response.raw_headers) if is_cut else response
    await _wait(pace.whole_s(answer.output_tokens))
    body = dump(answer.body)
    whole = Response(body, headers=headers, media_type="application/json")
    return faults.CutWhole(body, whole.raw_headers) if is_cut else whole


async def _stream(answer: Answer, pace: Pace) -> AsyncIterator[bytes]:
    for event in answer.events or ():
        await _wait(pace.token_s * event.tokens)
        yield event.data


async def _wait(seconds: float) -> None:
    if seconds > 0:
        await asyncio.sleep(seconds)


async def _models(request: Request) -> Response:
    body = anthropic_shapes.models() if _dialect(request) == "anthropic" else openai_shapes.models()
    headers = _headers(request, seed_of(request.url.path, b""))
    return Response(dump(body), headers=headers, media_type="application/json")


async def _model(request: Request) -> Response:
    seed = seed_of(request.url.path, b"")
    shape = anthropic_shapes.model_object if _dialect(request) == "anthropic" else openai_shapes.model_object
    try:
        body = shape(request.path_params["name"])
    except AskError as error:
        return _refusal(request, error, seed)
    return Response(dump(body), headers=_headers(request, seed), media_type="application/json")


async def _unknown(request: Request) -> Response:
    error = AskError(
        f"Unknown request URL: {request.method} {request.url.path[:200]}. The demo provider answers "
        f"{', '.join(_ANSWERERS)} and /v1/models.",
        status=404,
        code="unknown_url",
    )
    return _refusal(request, error, seed_of(request.url.path, b""))


app = create_app()

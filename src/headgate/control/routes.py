"""One row per route of the control process: path, the role it needs, its handler and what its description says."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from headgate.control.access import Need, Principal
from headgate.core.errors import BodyTooLarge, HeadgateError, MalformedRequest

if TYPE_CHECKING:
    from headgate.control.state import ControlApp

_Shape = TypeVar("_Shape")
Handler = Callable[["ControlApp", Request, Principal], Awaitable[Response]]
_MAX_BODY_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One query or path parameter, as the OpenAPI description lists it."""

    name: str
    help: str
    where: Literal["query", "path"] = "query"
    kind: Literal["string", "integer"] = "string"


@dataclass(frozen=True, kw_only=True)
class ControlRoute:
    """A route with the role it needs: nothing is reachable that is not in such a row."""

    method: Literal["GET", "POST"]
    path: str
    role: Need
    handler: Handler
    summary: str
    parameters: tuple[Parameter, ...] = ()
    body: Mapping[str, Any] | None = None  # JSON Schema of the request body
    answers: str = "application/json"
    status: int = 200
    is_page: bool = False
    errors: tuple[int, ...] = (400,)

    @property
    def address(self) -> str:
        """The path as its description writes it: `{name:path}`, a name that may hold slashes, is `{name}`."""
        return self.path.replace(":path}", "}")


class JSONResponse(Response):
    """JSON through msgspec: Decimal as a string, bytes never, no NaN."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The body's bytes."""
        return msgspec.json.encode(content)


def error_response(error: HeadgateError) -> JSONResponse:
    """An error as the API tells it."""
    headers = {"www-authenticate": "Bearer"} if error.status == 401 else None
    content = {"error": {"message": str(error), "code": error.code, "hint": error.hint}}
    return JSONResponse(content, status_code=error.status, headers=headers)


async def read_body(request: Request, limit_bytes: int = _MAX_BODY_BYTES) -> bytes:
    """The request's body, refused beyond a size that no request of this API needs."""
    pieces: list[bytes] = []
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > limit_bytes:
            raise BodyTooLarge(f"The body is over {limit_bytes} bytes.")
        pieces.append(piece)
    return b"".join(pieces)


async def read_json(request: Request, shape: type[_Shape], limit_bytes: int = _MAX_BODY_BYTES) -> _Shape:
    """The request's JSON body in the given shape; no browser form can produce one."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise MalformedRequest(f'The content type is "{kind[:60]}".', hint="Send application/json.")
    body = await read_body(request, limit_bytes)
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.DecodeError, RecursionError) as error:
        raise MalformedRequest(f"The body cannot be used: {error}.") from None

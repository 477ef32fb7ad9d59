"""`GET /v1/models`: what a key can call: the lists of the upstreams that speak its dialect, and our route names."""

import asyncio
import logging
import ssl
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import msgspec

from headgate.core.errors import HeadgateError, UpstreamUnreachable
from headgate.core.ids import monotonic_s
from headgate.gateway.auth import principal_of
from headgate.gateway.head import RequestHead
from headgate.gateway.upstream import UpstreamConnection
from headgate.gateway.worker import UpstreamHandle, Worker

if TYPE_CHECKING:
    from headgate.gateway.relay import Relay

_logger = logging.getLogger("headgate.gateway")
_TIMEOUT_S = 10.0
_KEEP_S = 60.0
_ANSWER_LIMIT = 8 << 20
_MODELS_LIMIT = 10_000
_kept: dict[tuple[str, str], tuple[float, list[dict[str, Any]]]] = {}


class _Fetch:
    """Collects one small answer."""

    def __init__(self) -> None:
        self.done: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self._pieces: list[bytes] = []

    def upstream_head(self, connection: UpstreamConnection) -> None:
        pass

    def upstream_data(self, connection: UpstreamConnection, pieces: list[bytes], is_last: bool) -> None:
        self._pieces += pieces
        if sum(map(len, self._pieces)) > _ANSWER_LIMIT:
            connection.cancel()
            self.upstream_broken(connection, f"listed more than {_ANSWER_LIMIT} bytes of models")
        elif is_last and not self.done.done():
            self.done.set_result((connection.status, b"".join(self._pieces)))

    def upstream_broken(self, connection: UpstreamConnection, reason: str) -> None:
        if not self.done.done():
            self.done.set_exception(ConnectionError(reason))


async def answer_models(relay: "Relay") -> None:
    """Answer a relay's `GET /v1/models`."""
    try:
        body = await list_models(relay)
    except HeadgateError as error:
        relay.refuse(error, outcome="upstream_error")
    else:
        relay.answer(200, body)


async def list_models(relay: "Relay") -> bytes:
    """The JSON of the merged list. Raises UpstreamUnreachable when nothing at all could be listed."""
    worker, dialect = relay.worker, relay.place.endpoint.dialect
    principal = principal_of(relay.head, worker.snapshot)
    handles = [worker.handle(name) for name, upstream in worker.settings.upstreams.items() if upstream.speaks(dialect)]
    lists = await asyncio.gather(*(_models_of(relay.head, handle, dialect) for handle in handles))
    merged: dict[str, dict[str, Any]] = {}
    for models in lists:
        for model in models or ():
            merged.setdefault(str(model.get("id")), model)
    for route in worker.settings.routes:
        if not any(character in route.model for character in "*?[") and any(
            worker.settings.upstreams[target.upstream].speaks(dialect) for target in route.targets
        ):
            merged.setdefault(route.model, _own_model(route.model, dialect))
    for entry in worker.snapshot.prompts.values():
        for alias in (*entry.aliases, *(["latest"] if entry.latest is not None else [])):
            name = f"prompt:{entry.name}@{alias}"
            merged.setdefault(name, _own_model(name, dialect))
    if not merged and handles and all(models is None for models in lists):
        raise UpstreamUnreachable("no upstream could list its models.", hint="headgate doctor tells why.")
    wanted = [
        model
        for name, model in merged.items()
        if not principal.models or any(fnmatchcase(_model_of(name, worker), glob) for glob in principal.models)
    ]
    if dialect == "anthropic":
        ids = [model["id"] for model in wanted] or [None]
        return msgspec.json.encode({"data": wanted, "has_more": False, "first_id": ids[0], "last_id": ids[-1]})
    return msgspec.json.encode({"object": "list", "data": wanted})


def _model_of(name: str, worker: Worker) -> str:
    """The model behind a listed name: a key limited to models may call the prompts that run on them."""
    if not name.startswith("prompt:"):
        return name
    prompt, _, alias = name.removeprefix("prompt:").rpartition("@")
    content = worker.snapshot.prompt(prompt, alias=alias).version.content_json
    return msgspec.json.decode(content, type=_Content).model


class _Content(msgspec.Struct):
    model: str


def _own_model(name: str, dialect: str) -> dict[str, Any]:
    if dialect == "anthropic":
        return {
            "type": "model",
            "id": name,
            "display_name": name,
            "created_at": "1970-01-01T00:00:00Z",
            "lifecycle": "active",  # required since anthropic 2.x, seen 2026-11
        }
    return {"id": name, "object": "model", "created": 0, "owned_by": "headgate"}


async def _models_of(head: RequestHead, handle: UpstreamHandle, dialect: str) -> list[dict[str, Any]] | None:
    """One upstream's list, kept for a minute; None when it could not be had."""
    name, is_kept = handle.upstream.name, handle.upstream.auth == "stored"
    kept = _kept.get((name, dialect))
    if is_kept and kept is not None and kept[0] > monotonic_s():
        return kept[1]
    try:
        status, body = await asyncio.wait_for(_get(head, handle), _TIMEOUT_S)
        if status != 200:
            raise ConnectionError(f"status {status}")
        read = msgspec.json.decode(body)
        models = [model for model in read["data"] if isinstance(model, dict) and "id" in model][:_MODELS_LIMIT]
    except (OSError, TimeoutError, ssl.SSLError, HeadgateError, msgspec.DecodeError, KeyError, TypeError) as error:
        _logger.warning("upstream %s did not list its models: %s", name, error)
        return None
    if is_kept:
        _kept[name, dialect] = (monotonic_s() + _KEEP_S, models)
    return models


async def _get(head: RequestHead, handle: UpstreamHandle) -> tuple[int, bytes]:
    fetch = _Fetch()
    request = head.build(
        b"GET",
        handle.origin.base_path + b"/models?limit=1000",
        handle.host,
        0,
        credential=handle.credential(),
        keeps_caller=handle.upstream.auth == "caller",
        extra=handle.extra,
        plain_answer=True,
    )
    connection = handle.pool.acquire() or await handle.pool.dial(handle.upstream.timeout.connect_s)
    connection.start(fetch, request)
    try:
        return await fetch.done
    finally:
        if not fetch.done.done() or fetch.done.cancelled():
            connection.cancel()

"""A control application over a real home: records go through a real spool, questions through its ASGI interface."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import uvicorn

from headgate.control.app import build
from headgate.control.state import ControlApp
from headgate.core.ids import now_us, uuid7
from headgate.core.settings import Settings
from headgate.registry import keys
from headgate.registry.database import Database
from headgate.snapshot import Role
from headgate.spool.record import Attempt, FinalRecord
from headgate.spool.writer import SpoolWriter
from support.control_settings import OPENAI_SETTINGS
from support.made_homes import copy_home

USAGE = {"prompt_tokens": 142, "completion_tokens": 87, "total_tokens": 229}


class Served:
    """The application, asked like a server; what was recorded is stored, all at once, before anything looks at it."""

    def __init__(self, control: ControlApp, spool: SpoolWriter) -> None:
        self._control, self._spool = control, spool
        self._has_unstored = False

    @property
    def control(self) -> ControlApp:
        """The application, which has stored everything so far."""
        self.store_all()
        return self._control

    def store_all(self) -> None:
        """Store what was recorded; for those who ask by other ways than this object."""
        if self._has_unstored:
            self._has_unstored = False
            while self._control.ingest.step():
                pass

    @property
    def registry(self) -> Database:
        """What the application knows of keys, prompts and evaluations: nothing recorded is in it."""
        return self._control.publisher.registry

    def record(self, *, said: str = "Hello", answer: str = "Hi there", age_s: float = 5.0, **fields: Any) -> str:
        """Record one chat; returns its id."""
        at_us = now_us() - int(age_s * 1e6)
        body = fields.pop("request_body", None)
        record = FinalRecord(
            **{
                "request_id": uuid7(at_us),
                "started_at_us": at_us,
                "sequence": 0,
                "endpoint": "openai.chat",
                "path": "/v1/chat/completions",
                "model_requested": "gpt-5-mini",
                "model": "gpt-5-mini",
                "provider": "openai",
                "upstream": "openai",
                "route": "gpt-*",
                "status": 200,
                "finish_reason": "stop",
                "usage_raw": json.dumps(USAGE),
                "latency_us": 812_000,
                "ttft_us": 300_000,
                "overhead_us": 400,
                "upstream_us": 811_600,
                "attempts": [Attempt(upstream="openai", model="gpt-5-mini", status=200, latency_us=811_600)],
                "request_content_type": "application/json",
                "response_content_type": "application/json",
                **fields,
            }
        )
        usual = {"model": record.model_requested, "messages": [{"role": "user", "content": said}]}
        request = json.dumps(usual if body is None else body)
        message = {"role": "assistant", "content": answer}
        response = json.dumps({"id": "c-1", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
        is_kept = record.capture in ("full", "truncated")
        assert self._spool.append_final(
            record, request.encode() if is_kept else b"", b"", [response.encode()] if is_kept else []
        )
        self._has_unstored = True
        return record.request_id

    def end_spool(self) -> None:
        """The worker ends and another begins: what it wrote can be sealed."""
        self.close()
        while self.control.ingest.step():
            pass
        self.control.ingest.step()
        self._spool = SpoolWriter(self.control.home.path / "spool", worker=1, segment_bytes=1 << 20)

    def close(self) -> None:
        """End the worker."""
        self._spool.close()

    def key(self, role: Role = "developer", project: str = "default", **more: Any) -> str:
        """A new key, known to the application at once."""
        _, plaintext = keys.create_key(self.registry, name=f"{role} of {project}", role=role, project=project, **more)
        self.control.publisher.load_keys()
        return plaintext

    def ask(
        self,
        method: str,
        path: str,
        *,
        key: str | None = None,
        headers: dict[str, str] | None = None,
        body: Any = None,
        form: dict[str, str] | None = None,
    ) -> httpx2.Response:
        """One request to the application."""
        return asyncio.run(self._ask(method, path, {**(headers or {}), **_key_header(key)}, body, form))

    def send(self, path: str, content: bytes, content_type: str) -> httpx2.Response:
        """A POST of bytes."""

        async def sent() -> httpx2.Response:
            assert self.control.asgi is not None
            transport = httpx2.ASGITransport(app=self.control.asgi)
            async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:4400") as client:
                return await client.post(path, content=content, headers={"content-type": content_type})

        return asyncio.run(sent())

    def get(self, path: str, *, key: str | None = None) -> Any:
        """The JSON answer of a GET that must work."""
        answer = self.ask("GET", path, key=key)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def _ask(
        self, method: str, path: str, headers: dict[str, str], body: Any, form: dict[str, str] | None
    ) -> httpx2.Response:
        assert self.control.asgi is not None
        transport = httpx2.ASGITransport(app=self.control.asgi)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:4400") as client:
            return await client.request(method, path, headers=headers, json=body, data=form)


def _key_header(key: str | None) -> dict[str, str]:
    return {} if key is None else {"x-headgate-key": key}


def _make_empty(home: Path) -> None:
    for name in ("run", "spool", "snapshot", "tmp", "bodies"):
        (home / name).mkdir(mode=0o700, parents=True)
    build(home, OPENAI_SETTINGS).close()


@contextmanager
def starting(folder: Path) -> Iterator[Callable[..., Served]]:
    """Makes applications over fresh homes in a folder, and ends them all."""
    opened: list[Served] = []

    def start(*, require_key: bool = False, hosts: Sequence[str] = (), settings: Settings = OPENAI_SETTINGS) -> Served:
        home = folder / f"home{len(opened)}"
        copy_home("empty", _make_empty, home)
        server = replace(settings.server, require_key=require_key, hosts=tuple(hosts))
        control = build(home, replace(settings, server=server))
        control.publisher.load_keys()
        spool = SpoolWriter(home / "spool", worker=0, segment_bytes=1 << 20)
        opened.append(Served(control, spool))
        return opened[-1]

    yield start
    for served in opened:
        served.close()
        served.control.close()


@contextmanager
def over_loopback(control: ControlApp) -> Iterator[str]:
    """Serves an application on a free port, in a thread of its own; its address."""
    assert control.asgi is not None
    config = uvicorn.Config(
        control.asgi, log_config=None, lifespan="off", http="httptools", ws="none", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))

    async def serve() -> None:
        control.stored.bind(asyncio.get_running_loop())
        await server.serve(sockets=[listener])

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()

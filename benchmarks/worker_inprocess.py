"""Measures the Python code of a gateway worker alone: no sockets, no kernel, no event loop in between.

    python benchmarks/worker_inprocess.py [--body-kb 1 40] [--profile requests|events]

Feeds request bytes to `EdgeProtocol` and answer bytes to `UpstreamConnection`, as the event loop would, with the same
settings as the side-by-side run (key limited to models, route with fallback, full log). The spool is a real one.
"""

import argparse
import asyncio
import cProfile
import functools
import hashlib
import os
import pstats
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from driver import STREAM_EVENTS, chat_body
from gateways import MODEL, UPSTREAM_SECRET, headgate_config
from headgate.core.home import Home
from headgate.core.ids import monotonic_s, now_us
from headgate.core.settings import load
from headgate.gateway.edge import EdgeProtocol, protocol_for
from headgate.gateway.upstream import UpstreamConnection
from headgate.gateway.worker import Worker
from headgate.snapshot import KeyEntry, Snapshot, publish

_KEY = "hg_bench_0123456789abcdef0123456789abcdef"
_REQUESTS = 20_000
_STREAMS = 200
_REPEATS = 5
_HEAD = (
    b"HTTP/1.1 200 OK\r\ndate: Mon, 23 Nov 2026 06:00:00 GMT\r\nserver: mock\r\nx-request-id: req_0123456789abcdef\r\n"
    b"openai-organization: org-bench\r\nopenai-processing-ms: 12\r\nopenai-version: 2020-10-01\r\n"
    b"x-ratelimit-limit-requests: 30000\r\nx-ratelimit-remaining-requests: 29999\r\n"
)
_ANSWER = (
    b'{"id":"chatcmpl-BenchMock0123456789abcdefghij","object":"chat.completion","created":1795413600,'
    b'"model":"gpt-4o-mini-2024-07-18","choices":[{"index":0,"message":{"role":"assistant","content":"%b",'
    b'"refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":142,'
    b'"completion_tokens":87,"total_tokens":229,"prompt_tokens_details":{"cached_tokens":0}},'
    b'"service_tier":"default","system_fingerprint":"fp_bench00000"}'
) % (b"A reverse proxy accepts requests. " * 16)
_CHUNK = (
    b'data: {"id":"chatcmpl-BenchMock0123456789abcdefghij","object":"chat.completion.chunk","created":1795413600,'
    b'"model":"gpt-4o-mini-2024-07-18","service_tier":"default","system_fingerprint":"fp_bench00000",'
    b'"choices":[{"index":0,"delta":{"content":" token"},"logprobs":null,"finish_reason":null}],"usage":null}\n\n'
)
_USAGE_CHUNK = (
    b'data: {"id":"chatcmpl-BenchMock0123456789abcdefghij","object":"chat.completion.chunk","choices":[],'
    b'"usage":{"prompt_tokens":142,"completion_tokens":100,"total_tokens":242}}\n\n'
)


class _Wire(asyncio.Transport):
    """A transport that leads nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.may_close = False

    def write(self, data: "bytes | bytearray | memoryview[Any]") -> None:
        """Nobody reads it."""

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        if not self.may_close:
            raise SystemExit("the worker closed a connection that should have lived")

    abort = close

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def pause_reading(self) -> None:
        """Nothing to pause."""

    def resume_reading(self) -> None:
        """Nothing to resume."""


class _Pair:
    """One client connection and one idle upstream connection of one worker."""

    def __init__(self, worker: Worker) -> None:
        async def no_app(scope: Any, receive: Any, send: Any) -> None:
            raise SystemExit("the request left the relay")

        config = uvicorn.Config(no_app, log_config=None, access_log=False)
        config.load()
        self._wires = (_Wire(), _Wire())
        self.edge: EdgeProtocol = protocol_for(worker)(config, ServerState(), {}, asyncio.get_running_loop())
        self.edge.connection_made(self._wires[0])
        pool = worker.handle("mock").pool
        self.upstream = UpstreamConnection(pool)
        self.upstream.connection_made(self._wires[1])
        self.upstream.keep_alive = True
        pool.take_back(self.upstream)
        self.spool = worker.spool

    def exchange(self, request: bytes, pieces: list[bytes]) -> None:
        """One request, and its answer piece by piece; the upstream connection must not have expired in between."""
        self.upstream.idle_since_s = monotonic_s()
        self.edge.data_received(request)
        for piece in pieces:
            self.upstream.data_received(piece)

    def close(self) -> None:
        """From here on connections may be closed."""
        for wire in self._wires:
            wire.may_close = True


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--body-kb", type=int, nargs="+", default=[1, 40], help="sizes of the request body")
    parser.add_argument("--profile", choices=["requests", "events"], help="print where the time goes instead")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(_run(Path(directory), options.body_kb, options.profile))
    return 0


async def _run(directory: Path, sizes_kb: list[int], profile: str | None) -> None:
    worker = _worker(directory)
    pair = _Pair(worker)
    answer = [_HEAD + b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(_ANSWER), _ANSWER)]
    stream = [_HEAD + b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"]
    stream += [_chunked(_CHUNK)] * STREAM_EVENTS + [
        _chunked(_USAGE_CHUNK),
        _chunked(b"data: [DONE]\n\n") + b"0\r\n\r\n",
    ]
    streamed = _request(chat_body(MODEL, 1024, is_stream=True))
    if profile is not None:
        request, pieces, count = (
            (streamed, stream, 100) if profile == "events" else (_plain(sizes_kb[0]), answer, 10_000)
        )
        _profile(lambda: _repeat(pair, request, pieces, count))
    else:
        for size_kb in sizes_kb:
            request, count = _plain(size_kb), _REQUESTS // max(1, size_kb // 4)
            cost = _measured(functools.partial(_repeat, pair, request, answer, count), count)
            print(f"{cost.loop_us:.1f} us per request of {size_kb} KB, {cost.threads_us:.1f} us beside it in threads")
        events = len(stream) - 1
        cost = _measured(functools.partial(_repeat, pair, streamed, stream, _STREAMS), _STREAMS * events)
        print(f"{cost.loop_us:.2f} us per event of a stream of {events}, the request's share included")
    counters = pair.spool.counters
    print(f"{counters.recorded} of {counters.started} exchanges recorded, {counters.shed} without their bodies.")
    pair.close()
    worker.close()


def _worker(directory: Path) -> Worker:
    os.environ["BENCH_UPSTREAM_KEY"] = UPSTREAM_SECRET
    config = directory / "headgate.toml"
    config.write_text(headgate_config(9, capture="full"))
    home = directory / "home"
    Home(home).prepare()
    key = KeyEntry(id="key_bench", name="bench", role="app", models=("gpt-*",))
    keys = {hashlib.sha256(_KEY.encode()).hexdigest(): key}
    publish(home, Snapshot(generation=1, published_at_us=now_us(), settings=load(config), keys=keys))
    return Worker(home, 0)


def _plain(size_kb: int) -> bytes:
    return _request(chat_body(MODEL, size_kb * 1024, is_stream=False))


def _request(body: bytes) -> bytes:
    """A request with the headers of the openai client."""
    return (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:4400\r\nAccept: application/json\r\n"
        "Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\nUser-Agent: OpenAI/Python 3.54.0\r\n"
        "X-Stainless-Lang: python\r\nX-Stainless-Package-Version: 3.54.0\r\nX-Stainless-OS: Linux\r\n"
        "X-Stainless-Arch: x64\r\nX-Stainless-Runtime: CPython\r\nX-Stainless-Runtime-Version: 3.11\r\n"
        f"Authorization: Bearer {_KEY}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _repeat(pair: _Pair, request: bytes, pieces: list[bytes], count: int) -> None:
    recorded = pair.spool.counters.recorded
    for _ in range(count):
        pair.exchange(request, pieces)
    if pair.spool.counters.recorded != recorded + count:
        raise SystemExit(f"{pair.spool.counters.recorded - recorded} of {count} exchanges were recorded")


@dataclass(frozen=True, kw_only=True)
class _Cost:
    """CPU microseconds for one unit of work: on the event loop's thread, and on the spool's helper threads."""

    loop_us: float
    threads_us: float


def _measured(work: Callable[[], None], units: int) -> _Cost:
    """The best of some repeats, which is the least disturbed one."""
    costs = []
    for _ in range(_REPEATS):
        thread_s, process_s = time.thread_time(), time.process_time()
        work()
        thread_s, process_s = time.thread_time() - thread_s, time.process_time() - process_s
        costs.append(_Cost(loop_us=thread_s / units * 1e6, threads_us=(process_s - thread_s) / units * 1e6))
    return min(costs, key=lambda cost: cost.loop_us + cost.threads_us)


def _profile(work: Callable[[], None]) -> None:
    work()
    profiler = cProfile.Profile()
    profiler.runcall(work)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(40)


if __name__ == "__main__":
    sys.exit(main())

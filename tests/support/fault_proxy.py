"""A TCP proxy that does to connections what networks do: reset, cut short, stall, delay and split what passes."""

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Coroutine
from typing import Any, Literal, get_args

Fault = Literal["none", "reset", "cut", "stall", "delay", "split"]

FAULTS: tuple[Fault, ...] = get_args(Fault)
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_STALL_S = 60.0
_DELAY_S = 0.05
_READ_BYTES = 64 << 10


class FaultProxy:
    """Passes connections on to a port of this machine; a share of the answers suffers a fault, chosen by ``seed``.

    reset, cut and stall come after a random number of the answer's bytes: an RST, an early FIN, silence. ``injected``
    counts what was done.
    """

    def __init__(self, target_port: int, *, seed: int, most_bytes: int = 900, share: float = 0.3) -> None:
        self.injected: Counter[str] = Counter()
        self._target_port, self._most_bytes, self._share = target_port, most_bytes, share
        self._random = random.Random(seed)
        self._ends: set[asyncio.StreamWriter] = set()  # of connections that may be open
        self._loop = asyncio.new_event_loop()
        self._server = self._run(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = int(self._server.sockets[0].getsockname()[1])
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(work)

    def close(self) -> None:
        """Break everything off."""
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _stop(self) -> None:
        self._server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for end in self._ends:  # what waits to be sent would keep a closed one open beyond the loop
            end.transport.abort()
        await asyncio.gather(*(end.wait_closed() for end in self._ends), return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ends.add(writer)
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            _reset(writer)
            return
        self._ends.add(upstream_writer)
        tasks = [
            asyncio.create_task(self._pass_on(reader, upstream_writer)),
            asyncio.create_task(self._answer(upstream_reader, writer)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for end in (upstream_writer, writer):
                end.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_READ_BYTES):
            writer.write(data)
            await writer.drain()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fault, after = self._next()
        passed = 0
        while data := await reader.read(_READ_BYTES):
            if fault in ("reset", "cut", "stall") and passed + len(data) > after:
                writer.write(data[: after - passed])
                with contextlib.suppress(ConnectionError):
                    await writer.drain()
                self.injected[fault] += 1
                if fault == "stall":
                    await asyncio.sleep(_STALL_S)
                elif fault == "reset":
                    _reset(writer)
                return
            passed += len(data)
            if fault == "delay":
                self.injected[fault] += 1
                await asyncio.sleep(_DELAY_S)
            if fault == "split":
                self.injected[fault] += 1
                await _drip(writer, data)
            else:
                writer.write(data)
                await writer.drain()
            if fault in ("delay", "split", "none"):  # the next answer on this connection has its own
                (fault, after), passed = self._next(), 0

    def _next(self) -> tuple[Fault, int]:
        is_faulty = self._random.random() < self._share
        return (self._random.choice(FAULTS[1:]) if is_faulty else "none"), self._random.randrange(self._most_bytes)


async def _drip(writer: asyncio.StreamWriter, data: bytes) -> None:
    for at in range(0, len(data), 7):
        writer.write(data[at : at + 7])
        await writer.drain()
        await asyncio.sleep(0)


def _reset(writer: asyncio.StreamWriter) -> None:
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()

"""A worker that stops listening: every connection is its own or waits for another worker, none is dropped."""

import asyncio
import socket

import pytest

from headgate.gateway.sockets import stop_accepting


class _Kept(asyncio.Protocol):
    made = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        type(self).made += 1


async def _taken_or_waiting(turns: int) -> tuple[int, int]:
    """One client that connects so many turns of the event loop before the end: taken on, left for the next worker."""

    class Protocol(_Kept):
        pass

    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        others = listener.dup()
        others.setblocking(False)
        server = await asyncio.get_running_loop().create_server(Protocol, sock=listener)
        await asyncio.sleep(0)
        client.connect(listener.getsockname())
        for _ in range(turns):
            await asyncio.sleep(0)
        await stop_accepting([server])
        server.close()
        for _ in range(5):
            await asyncio.sleep(0)
        try:
            others.accept()[0].close()
            waiting = 1
        except BlockingIOError:
            waiting = 0
        others.close()
    return Protocol.made, waiting


@pytest.mark.parametrize("turns", range(6))
def test_a_connection_that_comes_as_the_worker_stops_listening_is_not_dropped(turns: int) -> None:
    assert asyncio.run(_taken_or_waiting(turns)) in ((1, 0), (0, 1))

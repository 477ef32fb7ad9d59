"""What can be had of a connection only from its socket."""

import asyncio
import os
import socket
import ssl
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain

_TCP_INFO = getattr(socket, "TCP_INFO", None)  # Linux has it
_CLOSED_STATES = frozenset((7, 8, 9, 11))
"""CLOSE, CLOSE_WAIT, LAST_ACK, CLOSING (include/net/tcp_states.h): the peer has sent its end, or a reset."""

_ACCEPTING_TURNS = 3
"""Of the event loop, within which an accepted connection gets its transport."""
_RESET = struct.pack("ii", 1, 0)
_UNREAD_LIMIT_BYTES = 8 << 20
"""What a kernel holds for one connection at most; a peer that goes on sending is not listened to for ever."""


def reset_on_close(transport: asyncio.BaseTransport) -> None:
    """Have the peer see a reset, at once, when ``transport`` closes."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def half_close(transport: asyncio.Transport) -> None:
    """Send our end, and go on reading, where ``transport`` can and is not closing anyway."""
    if transport.can_write_eof() and not transport.is_closing():
        with suppress(OSError):  # the peer has reset the connection
            transport.write_eof()


def second_hand(transport: asyncio.BaseTransport) -> socket.socket | None:
    """The socket once more where TLS is spoken: asyncio closes its own before it tells that such a connection broke."""
    connection = transport.get_extra_info("socket")
    if connection is None or transport.get_extra_info("sslcontext") is None:
        return None
    with suppress(OSError):  # too many files: then what has not been read is lost
        return socket.socket(fileno=os.dup(connection.fileno()))
    return None


def unread(transport: asyncio.BaseTransport, second: socket.socket | None) -> Iterator[bytes]:
    """What arrived on a connection that broke and was not read, piece by piece; ``second``: its second hand, if any."""
    if transport.get_extra_info("sslcontext") is not None:
        if second is not None:
            yield from _decrypted(transport, second)
        return
    connection = transport.get_extra_info("socket")
    if connection is not None:
        yield from _pieces(connection.fileno())


def _pieces(fd: int) -> Iterator[bytes]:
    left = _UNREAD_LIMIT_BYTES
    with suppress(OSError):  # no more of it
        while left > 0 and (data := os.read(fd, 1 << 16)):
            left -= len(data)
            yield data


def _decrypted(transport: asyncio.BaseTransport, second: socket.socket) -> Iterator[bytes]:
    # asyncio gives no way to what it had not decrypted; without this attribute it is lost, as it would be anyway.
    incoming = getattr(getattr(transport, "_ssl_protocol", None), "_incoming", None)
    session = transport.get_extra_info("ssl_object")
    if incoming is None or session is None:
        return
    for data in chain((b"",), _pieces(second.fileno())):  # what came before may wait to be decrypted
        incoming.write(data)
        try:
            while plain := session.read(1 << 16):
                yield plain
        except ssl.SSLWantReadError:
            continue  # the rest of a record has not come
        except ssl.SSLError:
            return  # damaged
        return  # its end was said: what follows is nobody's


async def stop_accepting(servers: Iterable[asyncio.Server]) -> None:
    """Leave further connections to others that listen on the same sockets, and take on those already accepted.

    asyncio drops a connection that was accepted in the turn of the event loop before `Server.close` (seen in 3.11: an
    AssertionError, and a reset for the client).
    """
    loop = asyncio.get_running_loop()
    for server in servers:
        for listener in server.sockets:
            loop.remove_reader(listener.fileno())
    for _ in range(_ACCEPTING_TURNS):
        await asyncio.sleep(0)


def peer_has_closed(transport: asyncio.Transport) -> bool:
    """Whether the peer has closed its side, though bytes before that end may not have been read yet."""
    connection = transport.get_extra_info("socket")
    if _TCP_INFO is None or connection is None or connection.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    try:
        return connection.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 1)[0] in _CLOSED_STATES
    except OSError:
        return True

"""What can be had of a connection only from its socket."""

import asyncio
import os
import socket
import struct
from collections.abc import Iterator

_TCP_INFO = getattr(socket, "TCP_INFO", None)  # Linux has it
_CLOSED_STATES = frozenset((7, 8, 9, 11))
"""CLOSE, CLOSE_WAIT, LAST_ACK, CLOSING (include/net/tcp_states.h): the peer has sent its end, or a reset."""

_RESET = struct.pack("ii", 1, 0)


def reset_on_close(transport: asyncio.BaseTransport) -> None:
    """Have the peer see a reset, at once, when ``transport`` closes."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def half_close(transport: asyncio.Transport) -> None:
    """Send our end, and go on reading, where ``transport`` can and is not closing anyway."""
    if transport.can_write_eof() and not transport.is_closing():
        transport.write_eof()


def unread(transport: asyncio.BaseTransport) -> Iterator[bytes]:
    """What arrived on a connection that broke and was not read, piece by piece; nothing of one with TLS."""
    connection = transport.get_extra_info("socket")
    if connection is None or transport.get_extra_info("sslcontext") is not None:
        return
    try:
        while data := os.read(connection.fileno(), 1 << 16):
            yield data
    except OSError:  # no more of it
        return


def peer_has_closed(transport: asyncio.Transport) -> bool:
    """Whether the peer has closed its side, though bytes before that end may not have been read yet."""
    connection = transport.get_extra_info("socket")
    if _TCP_INFO is None or connection is None or connection.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    try:
        return connection.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 1)[0] in _CLOSED_STATES
    except OSError:
        return True

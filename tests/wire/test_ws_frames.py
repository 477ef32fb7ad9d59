"""Reading WebSocket frames on the side, held against the websockets library."""

import zlib
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import CLIENT, SERVER, Protocol, Side

from headgate.wire.ws_frames import FrameReader, Inflater, Message, close_of, frame, inflaters

_KINDS = {Opcode.TEXT: "text", Opcode.BINARY: "binary", Opcode.PING: "ping", Opcode.PONG: "pong", Opcode.CLOSE: "close"}


@dataclass
class Space:
    """What may be held."""

    left_bytes: int = 1 << 20


@dataclass
class Sent:
    """What a peer of the library sends: its bytes, and the messages in them."""

    data: bytes = b""
    messages: list[Message] = field(default_factory=list)


def deflate(*, keeps_context: bool, bits: int) -> PerMessageDeflate:
    return PerMessageDeflate(not keeps_context, not keeps_context, bits, bits)


TEXTS = st.text(max_size=40).map(str.encode) | st.integers(0, 3000).map(lambda size: b'{"a": "%b"}' % (b"xy" * size))
PAYLOADS = TEXTS | st.binary(max_size=60) | st.sampled_from([b"", b"z" * 125, b"z" * 126])


@st.composite
def sent(draw: st.DrawFn, side: Side, extension: PerMessageDeflate | None) -> Sent:
    """Messages in parts, control frames between the parts."""
    found = Sent()
    extensions = [] if extension is None else [extension]
    for _ in range(draw(st.integers(0, 5))):
        opcode = draw(st.sampled_from([Opcode.TEXT, Opcode.BINARY]))
        parts = draw(st.lists(PAYLOADS, min_size=1, max_size=4))
        for index, part in enumerate(parts):
            if draw(st.booleans()) and index:
                control = draw(st.sampled_from([Opcode.PING, Opcode.PONG]))
                data = draw(st.binary(max_size=125))
                found.data += Frame(control, data).serialize(mask=side is CLIENT, extensions=extensions)
                found.messages.append(Message(_KINDS[control], data))  # type: ignore[arg-type]
            piece = Frame(Opcode.CONT if index else opcode, part, fin=index == len(parts) - 1)
            found.data += piece.serialize(mask=side is CLIENT, extensions=extensions)
        found.messages.append(Message(_KINDS[opcode], b"".join(parts)))  # type: ignore[arg-type]
    return found


def read(reader: FrameReader, data: bytes, cuts: list[int]) -> list[Message]:
    """``data`` in pieces."""
    found: list[Message] = []
    at = 0
    for cut in sorted({min(cut, len(data)) for cut in cuts} | {len(data)}):
        found += reader.feed(data[at:cut])
        at = cut
    return found


CUTS = st.lists(st.integers(0, 4000), max_size=12)


@pytest.mark.parametrize("side", [CLIENT, SERVER], ids=["client", "server"])
@settings(max_examples=50, deadline=None)
@given(data=st.data(), cuts=CUTS)
def test_messages_come_out_as_they_went_in_wherever_the_bytes_are_cut(
    side: Side, data: st.DataObject, cuts: list[int]
) -> None:
    peer = data.draw(sent(side, None))
    reader = FrameReader(is_masked=side is CLIENT, room=(space := Space()))
    assert read(reader, peer.data, cuts) == peer.messages
    assert reader.is_between_messages
    assert reader.note is None
    assert space.left_bytes == 1 << 20


@pytest.mark.parametrize("keeps_context", [True, False])
@settings(max_examples=50, deadline=None)
@given(data=st.data(), cuts=CUTS, bits=st.integers(9, 15))
def test_deflated_messages_come_out_inflated(
    keeps_context: bool, data: st.DataObject, cuts: list[int], bits: int
) -> None:
    peer = data.draw(sent(SERVER, deflate(keeps_context=keeps_context, bits=bits)))
    reader = FrameReader(is_masked=False, inflater=Inflater(keeps_context=keeps_context, window_bits=bits))
    assert read(reader, peer.data, cuts) == peer.messages
    assert reader.note is None


@settings(max_examples=120, deadline=None)
@given(data=st.data(), cuts=CUTS)
def test_damaged_bytes_are_read_as_far_as_the_library_reads_them_and_never_raise(
    data: st.DataObject, cuts: list[int]
) -> None:
    peer = data.draw(sent(CLIENT, None))
    damaged = bytearray(peer.data)
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), min_size=1, max_size=3)):
        if at < len(damaged):
            damaged[at] = value
    damaged += data.draw(st.binary(max_size=30))
    ours = FrameReader(is_masked=True)
    found = read(ours, bytes(damaged), cuts)
    theirs, is_broken = by_library(bytes(damaged))
    assert found[: len(theirs)] == theirs
    if not any(message.kind == "close" for message in found):  # what follows one is not read there
        assert len(found) == len(theirs)
        assert ours.problem is not None or not is_broken


def by_library(data: bytes) -> tuple[list[Message], bool]:
    """What a server of the library makes of a client's bytes, and whether it gave up."""
    protocol = Protocol(SERVER, max_size=None)
    protocol.receive_data(data)
    found: list[Message] = []
    pieces: list[bytes] = []
    kind = "text"
    for event in protocol.events_received():
        assert isinstance(event, Frame)
        piece = bytes(event.data)
        if event.opcode in (Opcode.TEXT, Opcode.BINARY):
            kind, pieces = _KINDS[event.opcode], []
        if event.opcode in (Opcode.PING, Opcode.PONG, Opcode.CLOSE):
            found.append(Message(_KINDS[event.opcode], piece))  # type: ignore[arg-type]
            continue
        pieces.append(piece)
        if event.fin:
            found.append(Message(kind, b"".join(pieces)))  # type: ignore[arg-type]
    return found, protocol.parser_exc is not None


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
@pytest.mark.parametrize("side", [CLIENT, SERVER], ids=["client", "server"])
def test_a_length_is_read_in_each_of_its_three_forms(side: Side, size: int) -> None:
    data = Frame(Opcode.BINARY, b"z" * size).serialize(mask=side is CLIENT)
    reader = FrameReader(is_masked=side is CLIENT)
    assert [message for at in range(20) for message in reader.feed(data[at : at + 1])] == [Message("binary", b"")][
        size:
    ]
    assert reader.feed(data[20:]) == ([Message("binary", b"z" * size)] if size else [])


def test_a_message_over_the_limit_is_dropped_and_the_next_one_read() -> None:
    reader = FrameReader(is_masked=False, limit_bytes=1000)
    data = frame(1, b"a" * 1001) + frame(1, b"b")
    assert reader.feed(data) == [Message("text", b"", is_whole=False), Message("text", b"b")]
    assert reader.note == "1 message(s) were too long to be read"


def test_a_message_that_all_readers_together_have_no_room_for_is_dropped_and_takes_none() -> None:
    space = Space(left_bytes=10_000)
    reader = FrameReader(is_masked=False, room=space)
    big = Frame(Opcode.BINARY, b"a" * 90_000).serialize(mask=False)
    assert [message.is_whole for message in reader.feed(big)] == [False]
    assert space.left_bytes == 10_000
    assert [message.is_whole for message in reader.feed(big[:80_000] + b"" + frame(9, b"")[:0])] == []
    fits = FrameReader(is_masked=False, room=space)
    fits.feed(Frame(Opcode.BINARY, b"a" * 70_000).serialize(mask=False)[:-1])
    assert space.left_bytes == 10_000 - (70_000 - 1 - 65_536)
    fits.let_go()
    assert space.left_bytes == 10_000


def test_a_message_that_inflates_too_far_is_dropped_while_the_context_goes_on() -> None:
    extension = deflate(keeps_context=True, bits=15)
    reader = FrameReader(is_masked=False, inflater=Inflater(keeps_context=True), limit_bytes=100_000)
    data = b"".join(
        Frame(Opcode.TEXT, part).serialize(mask=False, extensions=[extension]) for part in (b"ab" * 80_000, b"ab" * 9)
    )
    assert reader.feed(data) == [Message("text", b"", is_whole=False), Message("text", b"ab" * 9)]


def test_bytes_behind_the_end_of_a_deflated_stream_are_not_guessed_at() -> None:
    ended = zlib.compressobj(wbits=-15)
    packed = ended.compress(b"a") + ended.flush()
    for keeps_context in (True, False):
        reader = FrameReader(is_masked=False, inflater=Inflater(keeps_context=keeps_context))
        head = bytes((0xC1, len(packed) + 1))
        assert [message.is_whole for message in reader.feed(head + packed + b"b")] == [False]
        assert "behind its end" in (reader.note or "")
    reader = FrameReader(is_masked=False, inflater=Inflater(keeps_context=False))
    whole = bytes((0xC1, len(packed))) + packed
    assert reader.feed(whole + whole) == [Message("text", b"a"), Message("text", b"a")]


def test_a_bomb_is_given_up_after_64_times_its_size() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(64)) + packer.flush(zlib.Z_SYNC_FLUSH)
    head = bytes((0xC1, 127)) + (len(packed) - 4).to_bytes(8, "big")
    reader = FrameReader(is_masked=False, inflater=Inflater(keeps_context=True))
    assert reader.feed(head + packed[:-4] + frame(8, b"\x03\xe8")) == [
        Message("text", b"", is_whole=False),
        Message("close", b"\x03\xe8"),
    ]
    assert "64 times" in (reader.note or "")


@pytest.mark.parametrize(
    ("accepted", "is_read"),
    [
        ("", True),
        ("permessage-deflate", True),
        ('permessage-deflate; server_max_window_bits="10"; client_no_context_takeover', True),
        ("permessage-deflate; server_max_window_bits=99", False),
        ("permessage-deflate, permessage-deflate", False),
        ("x-webkit-deflate-frame", False),
    ],
)
def test_extensions_that_are_not_known_are_refused(accepted: str, is_read: bool) -> None:
    try:
        inflaters(accepted)
    except ValueError:
        assert not is_read
    else:
        assert is_read


@given(reason=st.text(max_size=30), is_masked=st.booleans())
def test_frames_of_our_own_are_read_by_the_library(reason: str, is_masked: bool) -> None:
    protocol = Protocol(SERVER if is_masked else CLIENT)
    protocol.receive_data(frame(1, b"a" * 300, is_masked=is_masked))
    protocol.receive_data(frame(8, (1001).to_bytes(2, "big") + reason.encode(), is_masked=is_masked))
    assert protocol.parser_exc is None
    assert protocol.close_rcvd is not None
    assert (protocol.close_rcvd.code, protocol.close_rcvd.reason) == (CloseCode.GOING_AWAY, reason)
    assert close_of((1001).to_bytes(2, "big") + reason.encode()) == (1001, reason)

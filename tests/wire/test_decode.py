"""Content encodings undone on any byte split, bounded, never raising."""

import gzip
import random
import sys
import tracemalloc
import zlib
from typing import Any

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.wire.decode import BodyDecoder

TEXT = ('data: {"choices":[{"delta":{"content":"Grüße"}}]}\n\n' * 200).encode()


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def decoded(encoding: str | None, pieces: list[bytes], limit_bytes: int = 1 << 20) -> tuple[bytes, str | None]:
    decoder = BodyDecoder(encoding, limit_bytes)
    return b"".join(decoder.feed(piece) for piece in pieces), decoder.note


BODIES = {
    "gzip": gzip.compress(TEXT),
    "x-gzip": gzip.compress(TEXT[:100]) + gzip.compress(TEXT[100:]) + b"\0" * 20,
    "deflate": zlib.compress(TEXT),
    "Deflate, identity": raw_deflate(TEXT),
    "identity": TEXT,
    "br": brotli.compress(TEXT),
    "zstd": zstandard.compress(TEXT[:100]) + zstandard.compress(TEXT[100:]),  # several frames
}


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(BODIES)), st.lists(st.integers(0, 10**6), max_size=10))
def test_decoding_does_not_depend_on_the_byte_split(encoding: str, at: list[int]) -> None:
    data = BODIES[encoding]
    places = sorted({place % (len(data) + 1) for place in at})
    pieces = [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]
    assert decoded(encoding, pieces) == (TEXT, None)
    assert decoded(encoding, [data[i : i + 1] for i in range(len(data))]) == (TEXT, None)


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd"])
@pytest.mark.parametrize("is_dense", [True, False], ids=["dense", "loose"])
def test_a_body_of_megabytes_is_decoded_to_its_end(encoding: str, is_dense: bool) -> None:
    plain = random.Random(1).randbytes(1 << 20) if is_dense else TEXT * 100
    pack: Any = {"gzip": gzip.compress, "br": lambda data: brotli.compress(data, quality=4), "zstd": zstandard.compress}
    packed = pack[encoding](plain)
    assert decoded(encoding, [packed], 32 << 20) == (plain, None)
    assert decoded(encoding, [packed[:70_000], packed[70_000:]], 32 << 20) == (plain, None)


def test_a_long_zstd_body_is_not_copied_again_for_each_slice_of_it() -> None:
    class Counted(bytes):
        """Counts what is cut out of it."""

        copied = 0

        def __getitem__(self, key: Any) -> Any:
            found = Counted(super().__getitem__(key))
            Counted.copied += len(found)
            return found

    packed = Counted(zstandard.compress(random.Random(1).randbytes(1 << 20)))
    assert len(decoded("zstd", [packed], 32 << 20)[0]) == 1 << 20
    assert Counted.copied < 2 * len(packed)


def test_flushed_pieces_come_out_at_once() -> None:
    packer = zlib.compressobj(wbits=31)
    decoder = BodyDecoder("gzip")
    for event in (b"data: 1\n\n", b"data: 2\n\n"):
        assert decoder.feed(packer.compress(event) + packer.flush(zlib.Z_SYNC_FLUSH)) == event


def test_body_without_encoding_passes_as_the_same_object() -> None:
    assert BodyDecoder(None).feed(TEXT) is TEXT
    assert BodyDecoder("identity").feed(TEXT) is TEXT


@pytest.mark.parametrize("encoding", ["compress", "gzip, br", "gzip, gzip"])
def test_other_encodings_give_nothing_and_a_note(encoding: str) -> None:
    assert decoded(encoding, [b"abc"]) == (b"", f"content-encoding {encoding} is not read")


@pytest.mark.parametrize(("encoding", "library"), [("br", "brotli"), ("zstd", "zstandard")])
def test_an_encoding_whose_library_is_not_there_gives_nothing_and_a_note(
    encoding: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)  # as where it was not installed
    assert decoded(encoding, [BODIES[encoding]]) == (b"", f"content-encoding {encoding} is not read")


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["br", "zstd"])
def test_a_bomb_of_the_other_encodings_stops_at_the_limit_without_being_built(encoding: str) -> None:
    pack: Any = brotli.compress if encoding == "br" else zstandard.ZstdCompressor(level=19).compress
    bomb = pack(b"\0" * (512 << 20))
    tracemalloc.start()
    out, note = decoded(encoding, [bomb, bomb], limit_bytes=100_000)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (len(out), note) == (100_000, "the decoded body is longer than 100000 bytes; the rest was not read")
    assert most < 24 << 20


def test_a_window_beyond_what_http_allows_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = packer.compress(TEXT) + packer.flush()
    assert decoded("zstd", [data])[0] == b""
    assert (decoded("zstd", [data])[1] or "").startswith("the encoded body is damaged")


def test_bomb_stops_at_the_limit() -> None:
    bomb = gzip.compress(b"\0" * (50 << 20))
    out, note = decoded("gzip", [bomb, bomb], limit_bytes=100_000)
    assert len(out) == 100_000
    assert note == "the decoded body is longer than 100000 bytes; the rest was not read"
    assert decoded("gzip", [gzip.compress(b"x" * 100)], limit_bytes=100) == (b"x" * 100, None)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["gzip", "deflate", "br", "zstd"]), st.lists(st.binary(max_size=30), max_size=5))
def test_junk_never_raises(encoding: str, pieces: list[bytes]) -> None:
    decoded(encoding, pieces)
    out, _ = decoded(encoding, [BODIES[encoding][:200], *pieces])
    assert out == TEXT[: len(out)] or any(pieces)


def test_what_was_decoded_before_damage_is_kept() -> None:
    out, note = decoded("gzip", [gzip.compress(TEXT) + gzip.compress(TEXT)[:12] + b"\xff" * 50])
    assert out.startswith(TEXT)
    assert note is not None and note.startswith("the encoded body is damaged")

"""Describes image parts by what their first bytes or their address say."""

import base64
import binascii
import re
import struct

_DATA_URL = re.compile(r"data:([\w.+/-]{1,100})?(?:;[\w=.-]{1,60})*;base64,", re.IGNORECASE)
_HEAD_CHARS = 87_384


def describe_url(url: str) -> str:
    """An image given by a ``data:`` URL or by an address."""
    if found := _DATA_URL.match(url):
        return describe_base64(url[found.end() : found.end() + _HEAD_CHARS], found.group(1) or "")
    ending = re.search(r"\.(png|jpe?g|gif|webp)(?:[?#]|$)", url, re.IGNORECASE)
    return (
        f"an image ({ending.group(1).lower().replace('jpeg', 'jpg')} by address)" if ending else "an image (by address)"
    )


def describe_base64(data: str, media_type: str) -> str:
    """An image given in base64."""
    head = re.sub(r"[^A-Za-z0-9+/_-]", "", data[:_HEAD_CHARS])
    try:
        raw = base64.b64decode(head[: len(head) // 4 * 4], altchars=b"-_" if set(head) & set("-_") else None)
    except (binascii.Error, ValueError):
        raw = b""
    kind = media_type.rpartition("/")[2] or "unknown type"
    size = _size(raw)
    return f"an image ({size[0]}x{size[1]} {kind})" if size else f"an image ({kind})"


def _size(raw: bytes) -> tuple[int, int] | None:
    if raw.startswith(b"\x89PNG\r\n\x1a\n") and len(raw) >= 24:
        width, height = struct.unpack(">II", raw[16:24])
        return width, height
    if raw[:6] in (b"GIF87a", b"GIF89a") and len(raw) >= 10:
        width, height = struct.unpack("<HH", raw[6:10])
        return width, height
    if raw[:4] == b"RIFF" and raw[8:16] == b"WEBPVP8X" and len(raw) >= 30:
        return int.from_bytes(raw[24:27], "little") + 1, int.from_bytes(raw[27:30], "little") + 1
    return _jpeg_size(raw) if raw[:2] == b"\xff\xd8" else None


def _jpeg_size(raw: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(raw) and raw[at] == 0xFF:
        marker = raw[at + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", raw[at + 5 : at + 9])
            return width, height
        at += 2 + max(2, int.from_bytes(raw[at + 2 : at + 4], "big"))
    return None

"""Unpacking what someone uploads: tar and zip, without paths that lead out, links, devices, or bombs."""

import gzip
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

from headgate.runtimes.onnx_file import refuse

MAX_MEMBERS = 1000
_CHUNK_BYTES = 1 << 20
_TAR_MAGIC_AT = 257
_ATTRIBUTES_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    size: int
    source: tarfile.TarInfo | zipfile.ZipInfo


def is_archive(path: Path) -> bool:
    """Whether the file is a tar (gzip or not) or a zip, by its first bytes."""
    with path.open("rb") as file:
        head = file.read(512)
    return head.startswith((b"PK\x03\x04", b"\x1f\x8b")) or head[_TAR_MAGIC_AT : _TAR_MAGIC_AT + 5] == b"ustar"


def unpack(path: Path, into: Path, *, limit_bytes: int) -> list[str]:
    """Unpack an archive's files into one flat directory, which exists; their names.

    A single directory around everything is taken off; files in deeper ones are left out, and named in no way.
    Raises ModelRefused. The declared sizes are not believed: what comes out is counted.
    """
    names: list[str] = []
    left = limit_bytes
    seen: set[str] = set()
    plain = path
    try:
        if _starts_with(path, b"\x1f\x8b"):
            plain = into.with_name(into.name + ".tar")
            with gzip.open(path) as packed:
                _copy(cast(IO[bytes], packed), plain, limit_bytes + MAX_MEMBERS * 2048, limit_bytes)
        if not _starts_with(path, b"PK\x03\x04"):
            _check_tar_headers(plain)
        with _opened(plain) as (members, open_member):
            listed = list(_checked(members))
            root = _common_root([member.name for member in listed])
            for member in listed:
                name = member.name.removeprefix(root)
                if "/" in name:
                    continue
                if name.lower() in seen:
                    refuse(f'The archive holds "{name[:100]}" twice.')
                seen.add(name.lower())
                left -= _copy(open_member(member), into / name, left, limit_bytes)
                names.append(name)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
        refuse(f"The archive cannot be unpacked ({type(error).__name__}: {str(error)[:100]}).")
    finally:
        if plain is not path:
            plain.unlink(missing_ok=True)
    return names


def _starts_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def _check_tar_headers(path: Path) -> None:
    """Refuse names and attributes of absurd size before tarfile would read them into memory."""
    size = path.stat().st_size
    with path.open("rb") as file:
        at = count = 0
        while at + 512 <= size and count < 4 * MAX_MEMBERS:
            file.seek(at)
            header = file.read(512)
            if not header.strip(b"\0"):
                return
            length = _octal(header[124:136])
            if header[156:157] in b"xgLK" and length > _ATTRIBUTES_BYTES:
                refuse("The archive holds a name or attributes of absurd size.")
            at += 512 + (length + 511) // 512 * 512
            count += 1


def _octal(field: bytes) -> int:
    if field[:1] == b"\x80":  # GNU's form for sizes beyond eight gigabytes
        return int.from_bytes(field[1:], "big")
    return int(field.strip(b" \0") or b"0", 8)


@contextmanager
def _opened(path: Path) -> "Iterator[tuple[Iterator[_Member], _Open]]":
    with path.open("rb") as file:
        is_zip = file.read(4) == b"PK\x03\x04"
    if is_zip:
        with zipfile.ZipFile(path) as archive:
            yield _zip_members(archive), _Open(archive)
    else:
        with tarfile.open(path, "r:*") as tar:
            yield _tar_members(tar), _Open(tar)


class _Open:
    """Opens a member for reading."""

    def __init__(self, archive: tarfile.TarFile | zipfile.ZipFile) -> None:
        self._archive = archive

    def __call__(self, member: _Member) -> IO[bytes]:
        if isinstance(self._archive, zipfile.ZipFile):
            return self._archive.open(cast(zipfile.ZipInfo, member.source))
        found = self._archive.extractfile(cast(tarfile.TarInfo, member.source))
        if found is None:
            refuse(f'"{member.name[:100]}" in the archive is no plain file.')
        return found


def _zip_members(archive: zipfile.ZipFile) -> Iterator[_Member]:
    for info in archive.infolist():
        kind = info.external_attr >> 28  # the file type of a Unix mode, 0 where none is told
        if kind not in (0, 8, 4):
            refuse(f'"{info.filename[:100]}" in the archive is a link or a device.')
        if not info.is_dir():
            yield _Member(info.filename, info.file_size, info)


def _tar_members(archive: tarfile.TarFile) -> Iterator[_Member]:
    for info in archive:
        if info.isdir():
            continue
        if not info.isfile():
            refuse(f'"{info.name[:100]}" in the archive is a link or a device.')
        yield _Member(info.name, info.size, info)


def _checked(members: Iterator[_Member]) -> Iterator[_Member]:
    for count, member in enumerate(members, 1):
        if count > MAX_MEMBERS:
            refuse(f"The archive holds over {MAX_MEMBERS} files.")
        parts = PurePosixPath(member.name).parts
        bad = not parts or member.name.startswith("/") or ".." in parts or set(member.name) & {"\\", "\0", ":"}
        if bad or not member.name.isprintable() or len(member.name) > 255:
            refuse(f'The archive holds a file whose path leads out of it: "{_shown(member.name)}".')
        yield _Member("/".join(parts), member.size, member.source)


def _common_root(names: list[str]) -> str:
    firsts = {name.partition("/")[0] for name in names}
    if len(firsts) == 1 and all("/" in name for name in names):
        return firsts.pop() + "/"
    return ""


def _copy(source: IO[bytes], target: Path, left: int, limit_bytes: int) -> int:
    size = 0
    with source, target.open("xb") as file:
        while piece := source.read(_CHUNK_BYTES):
            size += len(piece)
            if size > left:
                refuse(
                    f"The archive unpacks to over {limit_bytes >> 20} MB.",
                    "Raise models.max_file_mb if it is meant to.",
                )
            file.write(piece)
    return size


def _shown(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:100])

"""A copy of a home while it serves: a directory that is a home itself."""

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from headgate import __version__
from headgate.control.state import ControlApp
from headgate.core.errors import MalformedRequest, Unavailable
from headgate.core.ids import now_us
from headgate.registry.database import FILE_NAME as REGISTRY_NAME
from headgate.spool.copy import copy_spool
from headgate.spool.reader import Position, spools
from headgate.store.database import DATABASE_NAME
from headgate.store.files import sealed_files, sync_directory

TOKEN_PREFIX = ".headgate-backup-"
MANIFEST_NAME = "backup.json"
_IMMUTABLE = ("kb", "models", "datasets")  # files in there are named by their hashes
_LEFT_OUT = frozenset({"staging", "uploads", "tmp"})


def check_target(directory: str, token: str) -> Path:
    """The directory to write to; the caller shows that it is theirs by a file in it. Raises MalformedRequest."""
    target = Path(directory)
    proof = f"{TOKEN_PREFIX}{token}"
    if not target.is_absolute() or not (token.isalnum() and 16 <= len(token) <= 64):
        raise MalformedRequest("A copy needs the absolute path of a directory and a token.")
    try:
        facts, names = target.stat(follow_symlinks=False), os.listdir(target)
    except OSError as error:
        raise MalformedRequest(
            f"The server cannot read {directory[:200]}: {error.strerror}.",
            hint="Name a directory on the server's machine; in a container, one of its volumes.",
        ) from None
    if names != [proof] or not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
        raise MalformedRequest(
            f"{directory[:200]} is not an empty directory of the server's user with the caller's token in it.",
            hint="headgate backup makes it; run it as the user that the server runs as.",
        )
    return target


def back_up(control: ControlApp, target: Path) -> dict[str, Any]:
    """Blocking: copy everything but secrets; `{directory, files, bytes, linked, ...}`. Raises HeadgateError.

    The order matters. Registry, then log: a row may name what the registry has. Log, then spool: the spool holds
    whatever is newer than the log's read positions. Nothing is sealed, merged or removed meanwhile.
    """
    home = control.home.path
    try:
        for path in target.glob(f"{TOKEN_PREFIX}*"):
            path.unlink()
        target.chmod(0o700)
        for name in ("spool", "bodies", "snapshot", "run"):
            (target / name).mkdir(mode=0o700)
        control.publisher.registry.backup(target / REGISTRY_NAME)
        with control.log.upkeep:
            counted = _copy_log(control, target)
        counted["linked"] += sum(_link_tree(home / name, target / name) for name in _IMMUTABLE)
        for path in sorted((home / "snapshot").glob("*")):
            _copy_file(path, target / "snapshot" / path.name)
        _copy_settings(control, target)
        facts = {
            "headgate": __version__,
            "created_at_us": now_us(),
            "files": sum(1 for path in target.rglob("*") if path.is_file()),
            "bytes": sum(path.stat().st_size for path in target.rglob("*") if path.is_file()),
            **counted,
        }
        (target / MANIFEST_NAME).write_bytes(msgspec.json.format(msgspec.json.encode(facts)))
        (target / MANIFEST_NAME).chmod(0o600)
        sync_directory(target)
    except OSError as error:
        raise Unavailable(
            f"The copy to {target} failed: {error.strerror or error}.",
            hint="What is there is no whole copy: remove it, free disk space, and begin again.",
        ) from error
    return {"directory": str(target), **facts}


def _copy_log(control: ControlApp, target: Path) -> dict[str, int]:
    home, log = control.home.path, control.log
    log.copy_to(target / DATABASE_NAME)
    linked = 0
    for file in sealed_files(log):
        source = home / "bodies" / file.path
        if source.exists():
            linked += _link(source, target / "bodies" / file.path)
    positions = log.positions()
    spooled = 0
    for spool_id in spools(home / "spool"):
        stored = positions.get(spool_id)
        # Only a hint of where to look for the end: the log went on since its copy was made.
        spooled += copy_spool(home / "spool", spool_id, None if stored is None else Position(*stored), target / "spool")
    return {"linked": linked, "spool_bytes": spooled}


def _copy_settings(control: ControlApp, target: Path) -> None:
    """What it was served with; neither file can hold a secret."""
    served = control.home.run / "settings.msgpack"
    if served.exists():
        _copy_file(served, target / "run" / served.name)
    if control.settings.file is not None and Path(control.settings.file).is_file():
        _copy_file(Path(control.settings.file), target / "headgate.toml")


def _link_tree(source: Path, target: Path) -> int:
    return sum(_link(path, target / path.relative_to(source)) for path in _files(source))


def _files(directory: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(directory):
        names[:] = [name for name in names if name not in _LEFT_OUT]
        yield from (Path(folder, name) for name in sorted(files) if not name.endswith(".tmp"))


def _link(source: Path, target: Path) -> int:
    """A second name for a file that never changes; a copy where the filesystem has no such thing. How many links."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if source.suffix == ".vectors":  # a cache that grows in place
        _copy_file(source, target)
        return 0
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        _copy_file(source, target)
        return 0
    return 1


def _copy_file(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    target.chmod(0o600)
    with target.open("rb") as written:
        os.fsync(written.fileno())

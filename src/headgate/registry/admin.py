"""The first admin key: given by the environment, or minted into a file only its owner can read."""

import os
import re
import stat
from pathlib import Path

from headgate.core.errors import ConfigurationError, HomeError
from headgate.core.ids import now_us, utc
from headgate.registry import history, keys
from headgate.registry.database import Database

FILE_NAME = "admin.key"
ENVIRONMENT_NAME = "admin (environment)"
MINTED_NAME = "admin"
_STRONG = re.compile(r"hg_[A-Za-z0-9_-]{32,200}")
MIN_DIFFERENT_SIGNS = 12


def ensure_admin_key(
    database: Database, home: Path, environ_key: str | None = None, *, at_us: int | None = None
) -> Path | None:
    """Sees to it that someone is admin; returns the file that holds the key when it is (or was just) minted.

    With ``environ_key`` that key is admin, a former one from the environment ends, and nothing is minted. None is
    returned too when there is another valid admin key. Raises ConfigurationError, HomeError.
    """
    now = now_us() if at_us is None else at_us
    if environ_key is not None:
        _adopt(database, environ_key, now)
        return None
    path = home / FILE_NAME
    written = _read(path)
    with database.write() as connection:
        admins = keys.valid_admins(connection, now)
        known = None if written is None else keys.by_digest(connection, keys.digest(written))
        if written is not None and known is None:  # minted, and we died before it was stored
            entry = keys.new_entry(connection, MINTED_NAME, "admin", now)
            keys.insert(connection, entry, keys.digest(written), by="server", origin="minted")
            return path
        if known is not None and known.is_valid(now):
            return path
        if admins:
            return None
        plaintext = keys.new_plaintext()
        _write(path, plaintext)
        entry = keys.new_entry(connection, MINTED_NAME, "admin", now)
        keys.insert(connection, entry, keys.digest(plaintext), by="server", origin="minted")
        return path


def _adopt(database: Database, key: str, now: int) -> None:
    """Makes the key of the environment the only admin key from the environment."""
    if not _STRONG.fullmatch(key) or len(set(key)) < MIN_DIFFERENT_SIGNS:
        raise ConfigurationError(
            "HEADGATE_ADMIN_KEY is not hg_ and at least 32 random letters, digits, _ or -.",
            hint="Make one: python3 -c \"import secrets; print('hg_' + secrets.token_urlsafe(32))\"",
        )
    with database.write() as connection:
        known = keys.by_digest(connection, keys.digest(key))
        if known is not None and not known.is_valid(now):
            ended_us = min(at for at in (known.revoked_at_us, known.expires_at_us) if at is not None)
            raise ConfigurationError(
                f"The key in HEADGATE_ADMIN_KEY ({known.id}) ended on {utc(ended_us):%Y-%m-%d %H:%M} UTC.",
                hint="Set another one; an ended key does not come back.",
            )
        former = connection.execute(
            "SELECT id FROM api_key WHERE origin = 'environment' AND revoked_at_us IS NULL AND digest <> ?",
            (keys.digest(key),),
        ).fetchall()
        for (key_id,) in former:
            connection.execute("UPDATE api_key SET revoked_at_us = ? WHERE id = ?", (now, key_id))
            history.append(
                connection,
                who="server",
                action="key.revoke",
                object=f"key:{key_id}",
                reason="HEADGATE_ADMIN_KEY holds another key now",
                at_us=now,
            )
        if known is None:
            entry = keys.new_entry(connection, ENVIRONMENT_NAME, "admin", now)
            keys.insert(connection, entry, keys.digest(key), by="server", origin="environment")


def _read(path: Path) -> str | None:
    """The key in the file, None when there is no file or nothing that is a key."""
    try:
        with open(
            os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), encoding="ascii", errors="replace"
        ) as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            text = file.read(1000).strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HomeError(f"{path} cannot be read ({error.strerror}).", hint="Mend its rights, or remove it.") from error
    if mode & 0o077:
        raise HomeError(
            f"{path} holds the admin key and is open to other users (mode {mode:04o}).",
            hint=f"Close it (chmod 600 {path}) and rotate the key: headgate key rotate {MINTED_NAME}",
        )
    return text if _STRONG.fullmatch(text) else None


def _write(path: Path, plaintext: str) -> None:
    """A new file of mode 0600; an old one is removed first, so nobody's open or linked file gets the key."""
    try:
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
            file.write(plaintext + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise HomeError(
            f"{path} cannot be written ({error.strerror}).", hint="Mend the rights of its place."
        ) from error

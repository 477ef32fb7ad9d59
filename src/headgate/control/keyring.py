"""The keys this process answers to, by digest; the same entries the gateway workers get with the snapshot."""

import hashlib
from collections.abc import Mapping

from headgate.core.errors import KeyRefused
from headgate.core.ids import now_us, utc
from headgate.snapshot import KeyEntry


class Keyring:
    """Key digests and what each key may do; replaced as a whole after every change."""

    def __init__(self, entries: Mapping[str, KeyEntry] | None = None) -> None:
        self._entries: Mapping[str, KeyEntry] = dict(entries or {})

    def replace(self, entries: Mapping[str, KeyEntry]) -> None:
        """Answer to these keys from now on."""
        self._entries = dict(entries)

    def entry(self, plaintext: str) -> KeyEntry:
        """The key a caller holds; refused when unknown, revoked or expired."""
        entry = self._entries.get(digest_of(plaintext))
        if entry is None:
            raise KeyRefused(
                f'headgate: "{plaintext[:4]}…" is not a key of this gateway.',
                code="key_unknown",
                hint="Create one: headgate key create --name my-tool --role developer.",
            )
        ended = _ended(entry)
        if ended is not None:
            code, words, hint = ended
            raise KeyRefused(f'headgate: key {entry.id} ("{entry.name}") {words}.', code=code, hint=hint)
        return entry

    def entry_of_digest(self, digest: str) -> KeyEntry | None:
        """The key with this digest while it is good, for sessions."""
        entry = self._entries.get(digest)
        return None if entry is None or _ended(entry) is not None else entry

    def ids_of(self, text: str) -> list[str]:
        """The ids that a key's id or name stands for; an id nobody knows stands for itself, as its key may be gone."""
        named = [entry.id for entry in self._entries.values() if text in (entry.name, entry.id)]
        return sorted({text, *named})

    def name_of(self, key_id: str | None) -> str | None:
        """The name of a key."""
        return next((entry.name for entry in self._entries.values() if entry.id == key_id), None)

    def names(self, project: str | None = None) -> list[str]:
        """The names of all keys, or of one project's, for filter suggestions."""
        return sorted({entry.name for entry in self._entries.values() if project in (None, entry.project)})

    def count(self, project: str | None = None) -> int:
        """How many keys there are, or one project has."""
        return sum(project in (None, entry.project) for entry in self._entries.values())


def digest_of(plaintext: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(plaintext.encode("utf-8", "surrogateescape")).hexdigest()


def _ended(entry: KeyEntry) -> tuple[str, str, str] | None:
    now = now_us()
    if entry.revoked_at_us is not None and entry.revoked_at_us <= now:
        day = f"{utc(entry.revoked_at_us):%Y-%m-%d %H:%M} UTC"
        return "key_revoked", f"was revoked on {day}", "Create another: headgate key create --name my-tool."
    if entry.expires_at_us is not None and entry.expires_at_us <= now:
        day = f"{utc(entry.expires_at_us):%Y-%m-%d %H:%M} UTC"
        return "key_expired", f"expired on {day}", f"Replace it: headgate key rotate {entry.id}."
    return None

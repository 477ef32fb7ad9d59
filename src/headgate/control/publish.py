"""Keys, prompts and settings to the gateway workers: every change is published at once, and noted in the history."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar, get_args

from headgate.control.access import Principal
from headgate.control.keyring import Keyring
from headgate.core.ids import monotonic_s, now_us
from headgate.core.settings import Settings
from headgate.registry import admin, aliases, history, kbs, keys, models, prompts
from headgate.registry.aliases import Kind
from headgate.registry.database import Database
from headgate.registry.generations import take_generation
from headgate.registry.history import HistoryEntry
from headgate.snapshot import (
    KeyEntry,
    Role,
    Snapshot,
    Stamp,
    next_generation,
    publish,
    snapshot_path,
    stamp_of,
)
from headgate.spool.counters import read_counters

_T = TypeVar("_T")
_TAKE_OVER_S = 1.0
_TAKE_OVER_POLL_S = 0.02
_LARGEST_GENERATION = 2**53
_logger = logging.getLogger("headgate.control")


class Publisher:
    """The one writer of the registry and of the snapshot; its changes run one after the other, off the event loop."""

    def __init__(
        self,
        home: Path,
        settings: Settings,
        registry: Database,
        keyring: Keyring,
        *,
        after_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._home, self._settings, self.registry, self._keyring = home, settings, registry, keyring
        self._after_change = after_change
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="headgate-registry")
        self.generation = 0
        self.published_at_us: int | None = None
        self._stamp: Stamp | None = None  # of the file as published

    def ensure_admin_key(self, environ_key: str | None) -> Path | None:
        """Sees to it that someone is admin where a key is needed, or given; returns the file a minted key is in."""
        if environ_key is None and not self._settings.server.require_key:
            return None
        return admin.ensure_admin_key(self.registry, self._home, environ_key)

    def publish(self) -> None:
        """Blocking: hand the current settings, keys and prompts to the workers, and the keys to this process."""
        entries = keys.keys_by_digest(self.registry)
        # This process refuses a revoked key even when the disk refuses the snapshot.
        self._keyring.replace(entries)
        snapshot = Snapshot(
            generation=take_generation(self.registry, self._least_generation()),
            published_at_us=now_us(),
            settings=self._settings,
            keys=entries,
            prompts=prompts.served(self.registry, self._settings),
            kbs=kbs.served(self.registry, self._settings),
            models=models.served(self.registry, self._settings),
        )
        publish(self._home, snapshot)
        self.generation, self.published_at_us = snapshot.generation, snapshot.published_at_us
        self._stamp = stamp_of(snapshot_path(self._home))

    def _least_generation(self) -> int:
        """Above what any worker may be serving from: the files, this process and the workers themselves are asked, as
        each of them may have been lost or put back from a copy."""
        running = (read_counters(file).get("generation", 0) for file in self._counter_files())
        highest = max((found for found in running if found < _LARGEST_GENERATION), default=0)
        return max(next_generation(self._home), self.generation + 1, highest + 1)

    async def keep_published(self) -> None:
        """Publish again when the published file was changed or removed by others: a worker that starts reads it."""
        if self._is_changed():  # one stat; in its turn only where it seems so, as a change of ours may be under way
            await self.run(self._mend)

    def _is_changed(self) -> bool:
        return bool(self.generation) and stamp_of(snapshot_path(self._home)) != self._stamp

    def _mend(self) -> None:
        if self._is_changed():
            _logger.warning("%s is not as published; it is published again.", snapshot_path(self._home))
            self.publish()

    def load_keys(self) -> None:
        """Blocking: answer to the registry's keys without publishing, where no worker runs."""
        self._keyring.replace(keys.keys_by_digest(self.registry))

    async def create_key(
        self,
        who: Principal,
        *,
        name: str,
        role: Role,
        project: str,
        models: Sequence[str],
        expires_in_s: float | None,
        reason: str | None,
    ) -> tuple[KeyEntry, str]:
        """A new key, good on every worker within two seconds, and its plaintext."""

        def change() -> tuple[KeyEntry, str]:
            return keys.create_key(
                self.registry,
                name=name,
                role=role,
                project=project,
                models=models,
                expires_in_s=expires_in_s,
                by=name_of(who),
                reason=reason,
            )

        return await self.change(change)

    async def revoke_key(self, who: Principal, wanted: str, reason: str | None) -> KeyEntry:
        """Ends a key now, by id or name."""
        return await self.change(lambda: keys.revoke(self.registry, wanted, by=name_of(who), reason=reason))

    async def rotate_key(
        self, who: Principal, wanted: str, overlap_s: float, reason: str | None
    ) -> tuple[KeyEntry, str]:
        """A successor of a key, which goes on for the overlap."""
        return await self.change(
            lambda: keys.rotate(self.registry, wanted, overlap_s=overlap_s, by=name_of(who), reason=reason)
        )

    async def list_keys(self) -> list[KeyEntry]:
        """All keys, ended ones included."""
        return await self.run(lambda: keys.list_keys(self.registry))

    async def history(
        self, object_name: str | None, as_of_us: int | None, before_seq: int | None, limit: int
    ) -> list[HistoryEntry]:
        """Who changed what, newest first; a key is found by its id or its name."""

        def entries() -> list[HistoryEntry]:
            found = history.entries(self.registry, object_name, as_of_us, before_seq=before_seq, limit=limit)
            if found or object_name is None:
                return found
            wanted = object_name.removeprefix("key:")
            ids = [entry.id for entry in keys.list_keys(self.registry) if entry.name == wanted]
            named = [
                entry
                for key_id in ids
                for entry in history.entries(
                    self.registry, f"key:{key_id}", as_of_us, before_seq=before_seq, limit=limit
                )
            ]
            return sorted(named, key=lambda entry: -entry.seq)[:limit]

        return await self.run(entries)

    async def in_force(self, object_name: str | None, as_of_us: int) -> list[dict[str, Any]]:
        """Where the aliases stood at a time, of all objects or of one (`prompt:name`, or just its name)."""

        def standing() -> list[dict[str, Any]]:
            with self.registry.read() as connection:
                return [
                    {"object": f"{kind}:{name}", "alias": alias, "version": number}
                    for kind in get_args(Kind)
                    for name, stands in aliases.all_standing(connection, kind, as_of_us).items()
                    if object_name in (None, name, f"{kind}:{name}")
                    for alias, number in stands.items()
                ]

        return await self.run(standing)

    async def record(self, who: Principal, action: str, object_name: str, detail: Mapping[str, Any]) -> None:
        """Note a change that is not the registry's own."""
        await self.run(
            lambda: history.record(self.registry, who=name_of(who), action=action, object=object_name, detail=detail)
        )

    def close(self) -> None:
        """Finish what runs and close the registry."""
        self._thread.shutdown(wait=True)
        self.registry.close()

    async def change(self, change: Callable[[], _T]) -> _T:
        """Runs a change of the registry and publishes it: every worker goes by it within a second."""

        def run() -> _T:
            result = change()
            self.publish()
            self._after_change()
            return result

        result = await self.run(run)
        await self._taken_over()
        return result

    async def _taken_over(self) -> None:
        """Wait, for a second at most, until every worker serves from what was published: then "done" means done."""
        deadline_s = monotonic_s() + _TAKE_OVER_S
        while monotonic_s() < deadline_s:
            counters = map(read_counters, self._counter_files())
            if all(found.get("generation", self.generation) >= self.generation for found in counters):
                return
            await asyncio.sleep(_TAKE_OVER_POLL_S)

    def _counter_files(self) -> Iterator[Path]:
        return (self._home / "run").glob("worker-*.counters")

    async def run(self, call: Callable[[], _T]) -> _T:
        """Runs a call that only reads the registry, or notes something in it, in its turn."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)


def name_of(who: Principal) -> str:
    """How the history names someone."""
    return who.key_id or "local"

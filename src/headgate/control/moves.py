"""The log's copy of the alias moves, so that `headgate sql` can lay them beside the requests."""

import logging

from headgate.core.errors import HeadgateError
from headgate.core.ids import utc
from headgate.registry import aliases
from headgate.registry.database import Database
from headgate.store.log import Log

_BATCH = 1000
_logger = logging.getLogger("headgate.control")


class MoveCopy:
    """Brings moves from the registry, where they are made, to the log's view `alias_moves`; each exactly once."""

    def __init__(self, log: Log, registry: Database) -> None:
        self._log, self._registry = log, registry
        self._copied: tuple[int, int] | None = None  # the log's generation, and how many moves it had

    def bring_up_to_date(self) -> None:
        """Blocking: copy what the log lacks. What cannot be copied now is copied with the next change."""
        try:
            self._copy()
        except HeadgateError as error:
            self._copied = None
            _logger.warning("alias_moves is behind the registry: %s", error.sentence)

    def _copy(self) -> None:
        newest = aliases.newest_seq(self._registry)
        if self._copied == (self._log.generation, newest):
            return
        # Both sides only ever grow, in one order and without gaps, so a count is a position.
        generation = self._log.generation
        copied = int(self._log.query("SELECT count(*) FROM alias_moves").rows[0][0])
        while moves := aliases.moves_after(self._registry, copied, _BATCH):
            self._log.append(
                "alias_moves",
                [
                    {
                        "moved_at": utc(move.at_us).replace(tzinfo=None),
                        "kind": move.kind,
                        "name": move.name,
                        "alias": move.alias,
                        "from_version": move.from_number,
                        "to_version": move.to_number,
                        "who": move.who,
                        "reason": move.reason,
                        "gate": move.gate,
                        "receipt_id": move.receipt_id,
                    }
                    for move in moves
                ],
            )
            copied += len(moves)
        self._copied = (generation, copied)

"""Answers that the log has already, for a client that is about to ask: only what will count when the run is judged."""

from collections.abc import Sequence

from headgate.control.evidence import Wanted, chosen
from headgate.control.run_knowledge import KeyKnowledge
from headgate.evals.output import Output
from headgate.registry.database import Database
from headgate.store import lookup
from headgate.store.log import Log
from headgate.store.lookup import LoggedCall

PURPOSES = ("eval", "judge", "embedding")
_CHUNK = 256


def cached_answers(
    log: Log, registry: Database, keys: Sequence[str], project: str | None
) -> dict[str, tuple[LoggedCall, Output]]:
    """Blocking: by key, the earliest call with a readable answer whose content gives this very key.

    ``project`` is the only one the asker may see; None: all.
    """
    found: dict[str, tuple[LoggedCall, Output]] = {}
    wanted, kb_of = list(dict.fromkeys(keys)), KeyKnowledge(registry)
    calls = lookup.calls_of_cells(log, wanted, PURPOSES)
    for first in range(0, len(wanted), _CHUNK):
        part = {key: Wanted(key=key, kb_of=kb_of) for key in wanted[first : first + _CHUNK] if key in calls}
        seen = {key: [call for call in calls[key] if project is None or call.project == project] for key in part}
        for key, one in chosen(log, part, seen).items():
            if one.call is not None and one.output is not None:
                found[key] = (one.call, one.output)
    return found

"""What was said of one request, as the API and the pages show it."""

from datetime import datetime
from typing import Any

from headgate.control.rows import clean, iso
from headgate.store import lookup
from headgate.store.log import Log


def scores_of_request(log: Log, request_id: str) -> list[dict[str, Any]]:
    """Blocking: the scores of a request, oldest first; comments go when its bodies go."""
    found: list[dict[str, Any]] = []
    for score in lookup.scores_of(log, [request_id]):
        shown = {name: clean(value) if isinstance(value, str) else value for name, value in score.items()}
        created = shown.pop("created_at")
        shown.pop("request_id")
        found.append({**shown, "created_at": iso(created) if isinstance(created, datetime) else None})
    return found

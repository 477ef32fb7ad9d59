"""The calls a test made through an SDK, and their rows in the log."""

from decimal import Decimal
from typing import Any

import httpx2

from support.server import RunningServer


class Calls:
    """The request ids that a client was given, and their rows."""

    def __init__(self, server: RunningServer) -> None:
        self.server = server
        self.ids: list[str] = []

    def note(self, response: httpx2.Response) -> None:
        """An event hook of the SDK's HTTP client."""
        self.ids.append(response.headers["x-headgate-request-id"])

    async def note_async(self, response: httpx2.Response) -> None:
        """The same for asynchronous clients."""
        self.note(response)

    def row(self, **expected: Any) -> dict[str, Any]:
        """The row of the last call, which must say what is expected of it."""
        row = self.server.row(self.ids[-1])
        assert {name: row[name] for name in expected} == expected
        return row

    def priced(self, **expected: Any) -> dict[str, Any]:
        """The row of the last call, which must have gone well, with the provider's usage and a listed price."""
        row = self.row(**{"outcome": "ok", "status": 200, "usage_source": "provider", **expected})
        assert row["input_tokens"] > 0
        assert row["cost_source"] == "listed", row["cost_reason"]
        assert Decimal(row["cost_usd"]) > 0
        assert row["latency_ms"] > 0
        return row

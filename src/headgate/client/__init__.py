"""A small synchronous Python client of Headgate's own API.

>>> with Client("http://127.0.0.1:4400", api_key="hg_...") as client:  # doctest: +SKIP
...     for row in client.requests({"since": "1h"})["requests"]:
...         row["model"], row["cost_usd"]
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal
from urllib.parse import quote

from headgate.client.evaluations import EvaluationCalls
from headgate.client.knowledge import KnowledgeCalls
from headgate.client.models import ModelCalls
from headgate.client.upkeep import UpkeepCalls
from headgate.client.wire import (
    CONNECT_TIMEOUT_S,
    MAX_ANSWER_BYTES,
    GatewayBroke,
    GatewayRefused,
    NoGateway,
    Query,
    base_url_of,
    given,
)

__all__ = [
    "CONNECT_TIMEOUT_S",
    "MAX_ANSWER_BYTES",
    "BodyKind",
    "Client",
    "ExportFormat",
    "GatewayBroke",
    "GatewayRefused",
    "NoGateway",
    "Query",
    "base_url_of",
]

BodyKind = Literal["request", "sent", "response"]
ExportFormat = Literal["jsonl", "csv", "parquet", "duckdb"]


class Client(EvaluationCalls, KnowledgeCalls, ModelCalls, UpkeepCalls):
    """One connection to one gateway. Every method raises a HeadgateError that says what to do; use it with ``with``."""

    # -- what is there -------------------------------------------------------------------------------------------

    def health(self) -> dict[str, Any]:
        """The answer of a real query to the store; a store that is down is an answer too."""
        return self._json("GET", "/api/health", accepted=(503,))

    def status(self) -> dict[str, Any]:
        """Everything ``headgate status`` prints."""
        return self._json("GET", "/api/status")

    def requests(self, filters: Query | None = None) -> dict[str, Any]:
        """One page of the newest requests: ``requests``, ``next`` (for the filter ``before``) and ``total``."""
        return self._json("GET", "/api/requests", query=filters)

    def tail(self, after: int | str | None = None, filters: Query | None = None) -> dict[str, Any]:
        """Requests in the order they were stored, after ``after`` (none: from now on), and ``next``."""
        query = dict(filters or {})
        if after is not None:
            query["after"] = str(after)
        return self._json("GET", "/api/requests/tail", query=query)

    def request(self, request_id: str) -> dict[str, Any]:
        """One request with attempts, price arithmetic, bodies and transcript."""
        return self._json("GET", f"/api/requests/{quote(request_id, safe='')}")

    def explain(self, request_id: str) -> dict[str, Any]:
        """Every decision behind one answer, in order."""
        return self._json("GET", f"/api/requests/{quote(request_id, safe='')}/explain")

    def body(self, request_id: str, kind: BodyKind) -> Iterator[bytes]:
        """The bytes of one body as they were received or sent."""
        return self._stream(f"/api/requests/{quote(request_id, safe='')}/body/{kind}")

    def export(
        self, file_format: ExportFormat, filters: Query | None = None, *, bodies: bool = False
    ) -> Iterator[bytes]:
        """The bytes of a file with the matching requests."""
        query = {**(filters or {}), "format": file_format, "bodies": "1" if bodies else "0"}
        return self._stream("/api/export", query)

    def cost(self, by: Sequence[str] = (), filters: Query | None = None) -> dict[str, Any]:
        """Cost and tokens grouped by columns, with coverage."""
        query = dict(filters or {})
        if by:
            query["by"] = ",".join(by)
        return self._json("GET", "/api/cost", query=query)

    def sql(self, query: str, *, max_rows: int | None = None) -> dict[str, Any]:
        """One read-only SELECT: ``columns``, ``rows``, ``truncated``."""
        body: dict[str, Any] = {"query": query}
        if max_rows is not None:
            body["max_rows"] = max_rows
        return self._json("POST", "/api/sql", body=body)

    def history(self, object_name: str | None = None, as_of: str | None = None) -> dict[str, Any]:
        """Who changed what, when and why."""
        given = {"object": object_name, "as_of": as_of}
        return self._json("GET", "/api/history", query={name: value for name, value in given.items() if value})

    # -- prompts -------------------------------------------------------------------------------------------------

    def prompts(self, as_of: str | None = None) -> dict[str, Any]:
        """All prompts with their aliases, now or as of a time: ``prompts``."""
        return self._json("GET", "/api/prompts", query=given(as_of=as_of))

    def prompt(self, name: str, as_of: str | None = None) -> dict[str, Any]:
        """One prompt with its aliases and ``versions``, newest first, without their contents."""
        return self._json("GET", _prompt_path(name), query=given(as_of=as_of))

    def prompt_version(self, name: str, ref: int | str, as_of: str | None = None) -> dict[str, Any]:
        """One version with its ``content``, by number or by alias (``latest`` is always the newest)."""
        which = {"version": str(ref)} if isinstance(ref, int) else {"alias": ref}
        return self._json("GET", _prompt_path(name), query=which | given(as_of=as_of))

    def prompt_difference(self, name: str, before: int | str, after: int | str) -> dict[str, Any]:
        """What differs between two versions of a prompt, field by field: ``changes``."""
        query = {"from": str(before), "to": str(after)}
        return self._json("GET", f"{_prompt_path(name)}/diff", query=query)

    def push_prompts(
        self,
        files: Sequence[tuple[str, str]],
        *,
        message: str | None = None,
        git_commit: str | None = None,
        author: str | None = None,
    ) -> dict[str, Any]:
        """Stores prompt files (pairs of a file's name and its text) as versions, all or none: ``pushed``."""
        body = {
            "files": [{"file": file, "text": text} for file, text in files],
            "message": message,
            "git_commit": git_commit,
            "author": author,
        }
        return self._json("POST", "/api/prompts/push", body=body)

    def render_prompt(
        self, ref: str, variables: Mapping[str, Any] | None = None, *, endpoint: str = "openai.chat"
    ) -> dict[str, Any]:
        """What a call of a prompt would send, its tokens and its price; nothing is sent."""
        body = {"ref": ref, "variables": dict(variables or {}), "endpoint": endpoint}
        return self._json("POST", "/api/prompts/render", body=body)

    def move_alias(
        self, name: str, alias: str, version: int | str, *, reason: str | None = None, override: bool = False
    ) -> dict[str, Any]:
        """Points an alias of a prompt to a version (a number, or an alias that stands there now): ``move`` (None when
        it stood there) and ``aliases``. A refused move raises GatewayRefused with the code ``move_refused``.
        """
        body = {"alias": alias, "version": version, "reason": reason, "override": override}
        return self._json("POST", f"{_prompt_path(name)}/aliases", body=body)

    def remove_alias(
        self, name: str, alias: str, *, reason: str | None = None, override: bool = False
    ) -> dict[str, Any]:
        """Ends an alias of a prompt; it stops being served within a second."""
        body = {"alias": alias, "reason": reason, "override": override}
        return self._json("POST", f"{_prompt_path(name)}/aliases/remove", body=body)

    def rollback_alias(self, name: str, alias: str = "production", *, reason: str | None = None) -> dict[str, Any]:
        """Points an alias of a prompt back to the version it meant before."""
        return self._json("POST", f"{_prompt_path(name)}/rollback", body={"alias": alias, "reason": reason})

    def archive_prompt(
        self, name: str, version: int, *, archived: bool = True, reason: str | None = None
    ) -> dict[str, Any]:
        """Takes a version of a prompt out of service, or back; it still explains old requests."""
        body = {"version": version, "archived": archived, "reason": reason}
        return self._json("POST", f"{_prompt_path(name)}/archive", body=body)

    # -- changes -------------------------------------------------------------------------------------------------

    def delete_requests(self, *, ids: Iterable[str] = (), filters: Query | None = None) -> dict[str, Any]:
        """Takes rows and bodies out of every answer at once and out of every file within a day."""
        wanted: dict[str, Any] = {"ids": list(ids)} if filters is None else {"filter": dict(filters)}
        return self._json("POST", "/api/requests/delete", body=wanted)

    def keys(self) -> dict[str, Any]:
        """The API keys, without their secrets."""
        return self._json("GET", "/api/keys")

    def create_key(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """A new key; its plaintext is in this answer and nowhere else."""
        return self._json("POST", "/api/keys", body=dict(fields))

    def revoke_key(self, key_id: str, *, reason: str | None = None) -> dict[str, Any]:
        """Refuses the key from now on, on every worker within two seconds."""
        return self._json("POST", f"/api/keys/{quote(key_id, safe='')}/revoke", body={"reason": reason})

    def rotate_key(self, key_id: str, *, overlap_s: float, reason: str | None = None) -> dict[str, Any]:
        """A successor of the key; the old one is accepted for ``overlap_s`` more."""
        wanted = {"overlap_s": overlap_s, "reason": reason}
        return self._json("POST", f"/api/keys/{quote(key_id, safe='')}/rotate", body=wanted)


def _prompt_path(name: str) -> str:
    return f"/api/prompts/{quote(name, safe='')}"

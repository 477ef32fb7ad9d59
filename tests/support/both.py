"""The same call by an SDK, straight to an upstream and through Headgate: what came of it, and its row in the log."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from support.calls import Calls
from support.later import Later
from support.server import clean_environment, free_port

if TYPE_CHECKING:
    import anthropic
    import openai
else:
    anthropic = Later("anthropic")
    openai = Later("openai")

Client = TypeVar("Client", "openai.OpenAI", "anthropic.Anthropic")
_MADE_UP = re.compile(
    r'"(?:(?:chatcmpl|resp|rs|msg|fc|call|toolu|req|file|batch|ftjob|ftevent|modr|srvtoolu)[-_][A-Za-z0-9_-]{8,}'
    r'|(?:[a-z]+_)?[0-9a-f]{8}-[0-9a-f-]{27})"'  # ids that a server draws
    r'|(?<="created": )\d+|(?<="created_at": )[\d.]+|(?<=_at": )\d+'
)


class UpstreamProcess:
    """A server that nobody here wrote, on a port of its own."""

    def __init__(
        self,
        command: Callable[[int], Sequence[str]],
        folder: Path,
        environ: Mapping[str, str] | None = None,
        within_s: float = 120,
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "upstream.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                list(command(self.port)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=clean_environment(environ),
                cwd=folder,
            )
        self._wait(within_s)

    def _wait(self, within_s: float) -> None:
        deadline_s = time.monotonic() + within_s
        while True:
            assert self._process.poll() is None, f"the upstream ended at start: {self.log.read_text()[-2000:]}"
            try:
                self.raw("GET", "/health")
                return
            except OSError:
                assert time.monotonic() < deadline_s, f"the upstream does not listen: {self.log.read_text()[-2000:]}"
                time.sleep(0.2)

    def raw(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """One call of the upstream itself: status and JSON."""
        return ask(self.port, method, path, body)

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def ask(port: int, method: str, path: str, body: object = None) -> tuple[int, Any]:
    """Status and JSON of one call."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"content-type": "application/json"} if data else {})
        answer = connection.getresponse()
        read = answer.read()
        return answer.status, json.loads(read) if read[:1] in b"{[" and read else read.decode("utf-8", "replace")
    finally:
        connection.close()


def plain(value: Any) -> Any:
    """A result of an SDK as JSON, without what a server draws anew each time."""
    if hasattr(value, "to_dict"):
        value = value.to_dict(mode="json")
    elif isinstance(value, list | tuple):
        value = [plain(one) for one in value]
    elif isinstance(value, bytes):
        value = value.hex()
    return json.loads(_MADE_UP.sub('"…"', json.dumps(value, ensure_ascii=False)))


@dataclass(frozen=True, kw_only=True)
class Both(Generic[Client]):
    """Two clients of one SDK. ``calls``: those through Headgate."""

    direct: Client
    through: Client
    calls: Calls

    def same(self, make: Callable[[Client], Any]) -> Any:
        """What the call came to, which must be the same both ways; of an error: its class, status and body."""
        direct, through = outcome(make, self.direct), outcome(make, self.through)
        assert plain(through) == plain(direct)
        return through


def outcome(make: Callable[[Client], Any], client: Client) -> Any:
    """The result, or what an error says."""
    try:
        return make(client)
    except (openai.APIStatusError, anthropic.APIStatusError) as error:
        kept = ("retry-after", "x-ratelimit-remaining-requests", "content-type")
        headers = {name: error.response.headers.get(name) for name in kept}
        return [type(error).__name__, error.status_code, error.body, error.response.text, headers]
    except (openai.APIConnectionError, anthropic.APIConnectionError) as broken:
        return [type(broken).__name__]

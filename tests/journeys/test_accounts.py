"""Objects of an account are found where they were made, by every worker and after a restart; who left is in the log."""

import json
import os
import re
import signal
import socket
from collections.abc import Callable
from typing import Any

import pytest

from support.client import Got, call, request_bytes
from support.server import RunningServer, eventually
from support.upstream import Script, ScriptedUpstream, Seen, answer, stream

NewServer = Callable[..., RunningServer]
CONFIG = """
[server]
default_upstream = {{openai = "first"}}

[upstreams.first]
kind = "openai"
base_url = "{first}"

[upstreams.second]
kind = "openai"
base_url = "{second}"

[upstreams.theirs]
kind = "openai"
base_url = "{theirs}"
auth = "caller"

[[routes]]
model = "on-second"
targets = [{{upstream = "second"}}]

[[routes]]
model = "either"
targets = [{{upstream = "first"}}, {{upstream = "second"}}]
fallback_on = [500]

[[routes]]
model = "*"
targets = [{{upstream = "first"}}]
"""


class Account(ScriptedUpstream):
    """An upstream that keeps objects, under ids of its own, and knows no others."""

    def __init__(self, name: str) -> None:
        super().__init__(reply_with=self.reply)
        self.name = name
        self.ids = {f"{name}-kept-1"}

    def reply(self, seen: Seen) -> Script:
        method, path, _ = seen.request_line.decode().split(" ")
        words = path.split("/")
        if method == "POST" and len(words) == 3:
            made = f"{words[2].rstrip('s')}_{self.name}{len(self.ids)}"
            self.ids.add(made)
            body = {"id": made, "object": words[2], "by": self.name, "usage": {"input_tokens": 1, "output_tokens": 1}}
            return answer(json.dumps(body).encode())
        if words[3] in self.ids:
            return answer(json.dumps({"id": words[3], "by": self.name, "method": method}).encode())
        return answer(b'{"error":{"message":"no such object"}}', status="404 Not Found")

    def paths(self) -> list[str]:
        return [" ".join(seen.request_line.decode().split(" ")[:2]) for seen in self.seen]


def ask(server: RunningServer, method: str, path: str, body: Any = None) -> Got:
    data = b"" if body is None else json.dumps(body).encode()
    headers = {"Authorization": "Bearer of-a-client"}
    return call(server.port, request_bytes(path, data, method=method, headers=headers), method=method)


def made(server: RunningServer, path: str, body: Any) -> str:
    got = ask(server, "POST", path, body)
    assert got.status == 200, got.body
    return str(got.json()["id"])


@pytest.mark.slow
def test_objects_are_asked_for_where_they_were_made(new_server: NewServer) -> None:
    first, second, theirs = Account("first"), Account("second"), Account("theirs")
    config = CONFIG.format(first=first.base_url, second=second.base_url, theirs=theirs.base_url)
    server = new_server(config, arguments=["--workers", "2"]).start()
    file_id = made(server, "/v1/files", {"purpose": "x"})
    answers = [made(server, "/v1/responses", {"model": "on-second", "input": "a"}) for _ in range(4)]
    assert (file_id, {one.partition("_")[2][:6] for one in answers}) == ("file_first1", {"second"})

    # Whichever of the two workers is asked, stored or still in the spool.
    for number in range(12):
        got = ask(server, "GET", f"/v1/responses/{answers[number % 4]}")
        assert (got.status, got.json()["by"]) == (200, "second")
    assert ask(server, "DELETE", f"/v1/responses/{answers[0]}").json() == {
        "id": answers[0],
        "by": "second",
        "method": "DELETE",
    }
    assert ask(server, "GET", f"/v1/files/{file_id}/content").json()["by"] == "first"

    # What continues an object goes to its account or nowhere.
    going_on = {"model": "either", "input": "b", "previous_response_id": answers[1]}
    assert ask(server, "POST", "/v1/responses", going_on).json()["by"] == "second"
    refused = ask(server, "POST", "/v1/responses", {**going_on, "model": "else"})
    assert (refused.status, refused.error["code"]) == (400, "owner_differs")

    # After a restart, killed, with a control process that must read it all again.
    server.kill_all()
    server.start()
    assert ask(server, "POST", f"/v1/responses/{answers[2]}/cancel").json()["by"] == "second"

    # What nobody knows: looked for by GET, refused for everything else, then known.
    first.seen.clear()
    second.seen.clear()
    unknown = ask(server, "DELETE", "/v1/files/second-kept-1")
    assert (unknown.status, unknown.error["code"]) == (404, "object_unknown")
    assert "second-kept-1" in unknown.error["message"]
    assert (first.paths(), second.paths()) == ([], [])
    assert ask(server, "GET", "/v1/files/second-kept-1").json()["by"] == "second"
    assert (first.paths(), second.paths()) == (["GET /v1/files/second-kept-1"], ["GET /v1/files/second-kept-1"])
    eventually(
        lambda: ask(server, "DELETE", "/v1/files/second-kept-1").status == 200, within_s=5, what="it is known now"
    )
    assert ask(server, "GET", "/v1/files/nobody-has-it").status == 404
    assert theirs.seen == []  # a client's own credential is shown to no one on suspicion

    # Without control a GET still looks; a change says what is missing.
    os.kill(server.pids("control")[0], signal.SIGSTOP)
    try:
        assert ask(server, "GET", "/v1/files/first-kept-1").json()["by"] == "first"
        stuck = ask(server, "DELETE", "/v1/files/second-never-seen")
        assert (stuck.status, stuck.error["code"]) == (503, "owner_unknown")
    finally:
        os.kill(server.pids("control")[0], signal.SIGCONT)
    assert ask(server, "GET", "/internal/objects/x").status == 404  # of the control process's own socket
    for upstream in (first, second, theirs):
        upstream.close()


EVENT = b'data: {"id":"c1","model":"gpt-5-mini","choices":[{"index":0,"delta":{"content":"Hello there, you"}}]}\n\n'
BODY = b'{"model":"%b","stream":true,"messages":[{"role":"user","content":"Say hello to me please"}]}'
LEFT = """
[upstreams.{name}]
kind = "openai"
provider = "openai"
base_url = "{url}"
on_disconnect = "{name}"

[[routes]]
model = "{model}"
targets = [{{upstream = "{name}"}}]
"""


def test_who_leaves_a_stream_is_in_the_log_with_what_there_was_and_what_it_cost(new_server: NewServer) -> None:
    begun = [*stream(EVENT, end=False), 0.3]
    stopped = ScriptedUpstream([[*begun, "wait-gone"]])
    finished = ScriptedUpstream([[*begun, *stream(EVENT)[1:]]])
    server = new_server(
        LEFT.format(name="stop", url=stopped.base_url, model="gpt-5-mini")
        + LEFT.format(name="finish", url=finished.base_url, model="gpt-5-nano")
    ).start()
    for model, events in ((b"gpt-5-mini", 1), (b"gpt-5-nano", 2)):
        with socket.create_connection(("127.0.0.1", server.port), 10) as client:
            client.sendall(request_bytes(body=BODY % model))
            seen = b""
            while EVENT not in seen:
                seen += client.recv(65536)
        request_id = re.search(rb"x-headgate-request-id: (\S+)", seen)
        assert request_id is not None
        row = server.row(request_id[1].decode(), within_s=10)
        assert (row["outcome"], row["usage_source"], row["stream"]) == ("client_closed", "estimated", True)
        assert (row["output_tokens"], row["response_bytes"]) == (4 * events, len(EVENT) * events)
        assert row["input_tokens"] > 4
        assert float(row["cost_usd"]) > 0
    stopped.close()
    finished.close()

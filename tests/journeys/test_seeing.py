"""A request is seen within two seconds of its answer: in the list, in the tail, on the terminal or pipe."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from support.client import call, request_bytes
from support.commands import run_cli
from support.load import CountingUpstream
from support.server import Lines, RunningServer, clean_environment, eventually, headgate_command

NewServer = Callable[..., RunningServer]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    upstream = CountingUpstream()
    running = RunningServer(tmp_path_factory.mktemp("seeing"), upstream.config())
    try:
        yield running.start()
    finally:
        running.close()
        upstream.close()


def send(server: RunningServer, name: str = "call-1") -> str:
    body = b'{"model":"m","messages":[{"role":"user","content":"%b"}]}' % name.encode()
    request_id = call(server.port, request_bytes(body=body)).header("x-headgate-request-id")
    assert request_id is not None
    return request_id


def seen_after_s(server: RunningServer, look: Callable[[str], object]) -> float:
    """The best of three: how long after its answer a request is seen."""
    found = []
    for number in range(3):
        request_id = send(server, f"call-{number}")
        answered_s = time.monotonic()
        eventually(lambda: look(request_id), within_s=20, what="the request is seen")  # noqa: B023
        found.append(time.monotonic() - answered_s)
    return min(found)


@pytest.fixture
def tail(server: RunningServer) -> Iterator[Lines]:
    """`headgate log tail` beside the server."""
    process = subprocess.Popen(
        [*headgate_command(), "log", "tail", "--json", "--home", str(server.home)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(),
    )
    assert process.stdout is not None and process.stderr is not None
    out, err = Lines(process.stdout), Lines(process.stderr)
    yield out
    process.terminate()
    process.wait(10)
    out.close()
    err.close()


def test_the_list_the_tail_and_the_pipe_have_a_request_within_two_seconds(server: RunningServer, tail: Lines) -> None:
    first = send(server, "call-0")
    eventually(lambda: first in tail.text, within_s=20, what="the tail follows")
    assert seen_after_s(server, lambda request_id: request_id in tail.text) < 2
    assert seen_after_s(server, lambda request_id: request_id in server.out.text) < 2
    assert seen_after_s(server, lambda request_id: server.ask(f"/api/requests/{request_id}")[0] == 200) < 2
    (line,) = [line for line in tail.json() if line["request_id"] == first]
    assert (line["outcome"], line["input_tokens"], line["output_tokens"]) == ("ok", 7, 3)


def test_a_server_on_a_pipe_prints_only_json_lines(new_server: NewServer, counting_upstream: CountingUpstream) -> None:
    server = new_server(counting_upstream.config()).start()
    request_id = send(server)
    eventually(lambda: request_id in server.out.text, within_s=10, what="the line of the request")
    assert server.stop() == 0
    lines: list[dict[str, Any]] = [json.loads(line) for line in server.out.lines]
    assert [line.get("event") for line in lines] == ["ready", None, "stopping"]
    assert lines[0]["openai_base_url"] == f"{server.url}/v1"
    assert lines[0]["anthropic_base_url"] == server.url
    row = lines[1]
    assert (row["request_id"], row["model"], row["outcome"], row["status"]) == (request_id, "m", "ok", 200)
    assert Decimal(row["cost_usd"]) == Decimal("0.000013")


def test_the_commands_agree_on_one_request(server: RunningServer) -> None:
    request_id = send(server)
    row = server.row(request_id)
    home = ("--home", str(server.home))

    def cli(*arguments: str) -> Any:
        ran = run_cli(*arguments, *home, cwd=server.directory)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    listed = json.loads(cli("log", "list", "--json"))
    assert listed["requests"][0] == row
    assert row["cost_usd"] == "0.000013"
    assert Decimal(listed["total"]["cost_usd"]) == len(listed["requests"]) * Decimal("0.000013")
    shown = json.loads(cli("log", "show", request_id, "--json"))
    assert shown["request"]["request_id"] == request_id
    query = (
        "SELECT request_id, cost_usd, input_tokens + output_tokens AS tokens FROM requests "
        f"WHERE request_id = '{request_id}'"
    )
    assert json.loads(cli("sql", query, "--format", "json"))["rows"] == [[request_id, "0.000013000000", 10]]
    assert json.loads(cli("cost", "--by", "model", "--json"))["rows"][0]["model"] == "m"
    assert request_id in cli("explain", request_id)
    assert json.loads(cli("status", "--json"))["health"]["status"] == "ok"


def test_a_deleted_request_is_gone_from_every_answer_at_once(server: RunningServer) -> None:
    request_id = send(server)
    server.row(request_id)
    ran = run_cli("log", "delete", request_id, "--yes", "--home", str(server.home), cwd=server.directory)
    assert ran.returncode == 0, ran.stderr
    assert server.ask(f"/api/requests/{request_id}")[0] == 404
    assert request_id not in {row["request_id"] for row in server.rows()}
    query = f"SELECT count(*) FROM requests WHERE request_id = '{request_id}'"
    assert server.api("/api/sql", body={"query": query})["rows"] == [[0]]


def test_every_worker_writes_to_the_same_log(new_server: NewServer, counting_upstream: CountingUpstream) -> None:
    server = new_server(counting_upstream.config(), arguments=["--workers", "2"]).start()
    wanted = {send(server, f"call-{number}") for number in range(40)}
    eventually(lambda: len(server.rows()) == 40, within_s=10, what="40 rows")
    assert {row["request_id"] for row in server.rows()} == wanted

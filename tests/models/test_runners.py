"""The processes of models: one that ends, hangs, takes all memory or was tampered with harms its own model only."""

import http.client
import json
import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from support.models import breast_cancer, infer_body, register
from support.onnx_models import doubles, fills, turns
from support.server import RunningServer, eventually

LONG = 10**12


def whole(value: int | list[int]) -> bytes:
    values = value if isinstance(value, list) else [value]
    tensor = {"name": "X", "shape": [len(values)], "datatype": "INT64", "data": values}
    return json.dumps({"inputs": [tensor]}).encode()


def runner(server: RunningServer, name: str, version: int = 1) -> Mapping[str, Any]:
    """What is told of a version's process."""
    found = server.api(f"/api/models/{name}", {"version": version})
    return found["runner"] or {}


def running(server: RunningServer, name: str, version: int = 1) -> int:
    """The PID of a version's process, once it serves."""
    found = eventually(
        lambda: runner(server, name, version) if runner(server, name, version).get("state") == "ready" else None,
        within_s=15,
        what=f"{name}@{version} serves",
    )
    return int(found["pid"])


def answer_of_others(server: RunningServer) -> int:
    return server.post("/v2/models/tumour/infer", infer_body(breast_cancer().rows[:1]))[0]


def used_ticks(pid: int) -> int:
    """How long a process has worked, in clock ticks."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_a_runner_that_is_killed_fails_its_own_call_with_503_and_is_started_again(server: RunningServer) -> None:
    register(server, "crashes", turns())
    server.api("/api/models/crashes/aliases", body={"version": 1, "alias": "champion"})
    pid = running(server, "crashes")
    before = used_ticks(pid)
    answered: list[tuple[int, dict[str, str], bytes]] = []
    caller = threading.Thread(target=lambda: answered.append(server.post("/v2/models/crashes/infer", whole(LONG))))
    caller.start()
    eventually(lambda: used_ticks(pid) > before, within_s=10, what="the call is being worked on")
    os.kill(pid, signal.SIGKILL)
    assert answer_of_others(server) == 200
    caller.join(20)
    ((status, headers, body),) = answered
    assert (status, int(headers["retry-after"]) >= 1) == (503, True)
    assert "the process of model crashes@1 ended while it had this request" in json.loads(body)["error"]
    eventually(lambda: runner(server, "crashes").get("pid") not in (None, pid), within_s=15, what="it is started again")
    running(server, "crashes")
    status, _, body = server.post("/v2/models/crashes/infer", whole(5))
    assert (status, json.loads(body)["outputs"][0]["data"]) == (200, [5])
    assert runner(server, "crashes")["restarts"] == 1


def test_a_call_over_the_time_limit_ends_its_process_and_the_third_time_the_model_rests(server: RunningServer) -> None:
    register(server, "hangs", turns(2))
    server.api("/api/models/hangs/aliases", body={"version": 1, "alias": "champion"})
    running(server, "hangs")
    status, headers, _ = server.post("/v2/models/hangs/infer", whole(LONG))
    assert (status, "retry-after" in headers) == (503, True)
    found = eventually(
        lambda: runner(server, "hangs") if runner(server, "hangs").get("restarts") else None, within_s=10, what="again"
    )
    assert found["restarts"] == 1
    for _ in range(2):
        os.kill(running(server, "hangs"), signal.SIGKILL)
        eventually(lambda: runner(server, "hangs").get("state") != "ready", within_s=10, what="its end is seen")
    found = eventually(
        lambda: runner(server, "hangs") if runner(server, "hangs").get("state") == "quarantined" else None,
        within_s=15,
        what="the model rests",
    )
    assert "ended 3 times in 60 s" in found["reason"]
    status, headers, body = server.post("/v2/models/hangs/infer", whole(1))
    assert status == 503 and int(headers["retry-after"]) > 60
    assert "hangs@1 is not running: ended 3 times" in json.loads(body)["error"]
    assert server.ask("/v2/models/hangs/ready")[0] == 503
    assert answer_of_others(server) == 200
    assert server.api("/api/models/hangs/test", body={"version": 1})["passed"]  # tried again by hand
    running(server, "hangs")
    assert server.post("/v2/models/hangs/infer", whole(3))[0] == 200


def test_a_call_that_wants_all_memory_is_refused_and_the_runner_lives(server: RunningServer) -> None:
    register(server, "hungry", fills())
    server.api("/api/models/hungry/aliases", body={"version": 1, "alias": "champion"})
    pid = running(server, "hungry")
    status, _, body = server.post("/v2/models/hungry/infer", whole(10**9))  # 8 GB of numbers, 1 GB may be used
    assert status == 400, body
    assert isinstance(json.loads(body)["error"], str)
    status, _, body = server.post("/v2/models/hungry/infer", whole(10))
    assert (status, json.loads(body)["outputs"][0]["data"]) == (200, [10])
    assert running(server, "hungry") == pid


def test_versions_called_by_number_start_on_demand_and_the_one_used_longest_ago_is_stopped(
    server: RunningServer,
) -> None:
    for factor in (2, 3, 4):
        register(server, "spare", doubles(factor))
    assert server.post("/v2/models/spare/infer", whole([1]))[0] == 200  # a bare name: the newest, no champion yet
    for number in (1, 2, 3):
        status, _, body = server.post(f"/v2/models/spare/versions/{number}/infer", whole([7]))
        assert (status, json.loads(body)["outputs"][0]["data"]) == (200, [7 * (number + 1)])
        running(server, "spare", number)
    eventually(lambda: not runner(server, "spare", 1), within_s=10, what="the version used longest ago is stopped")
    assert [runner(server, "spare", number).get("state") for number in (2, 3)] == ["ready", "ready"]
    status, _, body = server.post("/v2/models/spare/versions/1/infer", whole([7]))
    assert (status, json.loads(body)["outputs"][0]["data"]) == (200, [14])
    running(server, "tumour")  # what an alias points to stays


def test_a_version_whose_warm_up_answers_otherwise_than_stored_is_not_served(server: RunningServer) -> None:
    found = register(server, "tampered", doubles(11))
    bundle = server.home / "models" / found["version"]["sha256"]
    expected = bundle / "expected.bin"
    kept = expected.read_bytes()
    expected.chmod(0o600)
    expected.write_bytes(kept[:-8] + (10**6).to_bytes(8, "little"))
    status, headers, body = server.post("/v2/models/tampered/infer", whole([1]))
    assert (status, "retry-after" in headers) == (503, True), body
    assert "cannot be served" in json.loads(body)["error"]
    assert any("of the stored sample is" in line for line in server.err.lines)
    expected.write_bytes(kept)
    assert server.api("/api/models/tampered/test", body={"version": 1})["passed"]
    running(server, "tampered")
    assert server.post("/v2/models/tampered/infer", whole([1]))[0] == 200


def test_whole_numbers_take_no_fraction_no_text_and_nothing_too_large(server: RunningServer) -> None:
    register(server, "whole", doubles(5))
    for data, words in (
        ("[NaN]", "no valid JSON"),
        ("[null]", "INT64"),
        ("[1.5]", "INT64"),
        ('["1"]', "INT64"),
        ("[1e30]", "INT64"),
        (f"[{2**63}]", "INT64"),
    ):
        body = f'{{"inputs":[{{"name":"X","shape":[1],"datatype":"INT64","data":{data}}}]}}'
        status, _, raw = server.post("/v2/models/whole/infer", body.encode())
        assert (status, words in json.loads(raw)["error"]) == (400, True), (data, raw)
    assert server.post("/v2/models/whole/infer", whole(2**62))[0] == 200


class Load:
    """Calls at a steady rate from some threads, and what came back: status and the version that answered."""

    def __init__(self, server: RunningServer, name: str, *, per_s: int, threads: int = 4) -> None:
        self.seen: list[tuple[int, str, list[int]]] = []
        self.problems: list[str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(per_s / threads,)) for _ in range(threads)]
        self._port = server.port
        self._path = f"/v2/models/{name}/infer"

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *ended: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _run(self, per_s: float) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            while not self._stop.wait(1 / per_s):
                connection.request("POST", self._path, whole([7]), {"content-type": "application/json"})
                answer = connection.getresponse()
                body = answer.read()
                value = json.loads(body)["outputs"][0]["data"] if answer.status == 200 else [0]
                self.seen.append((answer.status, answer.headers.get("x-headgate-model", ""), value))
        except OSError as error:
            self.problems.append(repr(error))
        finally:
            connection.close()

    def answered_by(self, ref: str) -> int:
        """How many answers came from a version."""
        return sum(seen[1] == ref for seen in list(self.seen))


def swapped(server: RunningServer, name: str, *, swaps: int) -> Load:
    """Move the champion to and fro under load, each time once calls reach it."""
    for factor in (2, 3):
        register(server, name, doubles(factor * 100 + swaps))
    server.api(f"/api/models/{name}/aliases", body={"version": 1, "alias": "champion"})
    load = Load(server, name, per_s=200)
    with load:
        for turn in range(swaps):
            wanted = f"{name}@{2 - turn % 2}"
            if turn % 2:
                server.api(f"/api/models/{name}/rollback", body={})
            else:
                server.api(f"/api/models/{name}/aliases", body={"version": 2, "alias": "champion"})
            had = load.answered_by(wanted)
            eventually(lambda: load.answered_by(wanted) > had + 20, within_s=15, what=f"{wanted} answers")  # noqa: B023
    return load


def assert_unharmed(load: Load, name: str, swaps: int) -> None:
    assert not load.problems and {status for status, _, _ in load.seen} == {200}
    by_version = {f"{name}@1": [7 * (200 + swaps)], f"{name}@2": [7 * (300 + swaps)]}
    assert all(value == by_version[version] for _, version, value in load.seen)
    assert all(load.answered_by(version) for version in by_version)


def test_a_hot_swap_and_a_rollback_under_load_fail_no_request(server: RunningServer) -> None:
    assert_unharmed(swapped(server, "swapped", swaps=2), "swapped", 2)


@pytest.mark.slow
def test_many_hot_swaps_under_load_fail_no_request(server: RunningServer) -> None:
    load = swapped(server, "swapped-often", swaps=40)
    assert_unharmed(load, "swapped-often", 40)
    assert len(load.seen) > 800

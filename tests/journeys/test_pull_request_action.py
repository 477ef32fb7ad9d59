"""The composite action that gates a pull request: its scripts run with bash on a real gateway and a scripted GitHub."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from headgate.prompts import yaml_text
from support.commands import run_cli
from support.server import DemoUpstream, RunningServer, clean_environment

ROOT = Path(__file__).parents[2]
ACTION = ROOT / ".github/actions/gate"
PAGE = ROOT / "docs/how-to/gate-pull-requests.md"
CASES = 24
WORDS = [a + b for a in ("lamp", "vase", "sofa", "rug", "desk", "shelf") for b in ("ano", "ibo", "uka", "ero")]
CONFIG = """[upstreams.demo]
{upstream}

[[routes]]
model = "*"
targets = [{{upstream = "demo"}}]

[[prices]]
upstream = "demo"
model = "*"
from = 2026-01-01
input_mtok = 1.00
output_mtok = 4.00

[[protect]]
kind = "prompt"
name = "*"
alias = "production"
policy = "starter"
"""
SUITE = """suite: prices
target: shop
dataset: prices
budget: {usd: 1.00}
scorers:
  - {id: price, type: contains, role: primary}
"""


def prompt(known: int, tone: str = "") -> str:
    notes = "\n".join(f"      [{at + 1}] The {WORDS[at]} costs {100 + 7 * at} dollars." for at in range(known))
    return (
        "name: shop\nmodel: demo-chat\nparameters: {max_output_tokens: 100}\ninput:\n  question: {type: string}\n"
        f"messages:\n  - role: system\n    content: |-\n      Answer from these notes:{tone}\n{notes}\n"
        '  - {role: user, content: "{{ question }}"}\n'
    )


class GitHub(ThreadingHTTPServer):
    """As much of GitHub's API as the action calls: the comments of one pull request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.comments: list[dict[str, Any]] = []
        self.foreign: set[int] = set()  # those that our token may not change
        self.calls: list[tuple[str, str, str | None]] = []
        self.is_read_only = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: GitHub

    def _answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _called(self) -> Any:
        self.server.calls.append((self.command, self.path, self.headers.get("authorization")))
        length = int(self.headers.get("content-length") or 0)
        return json.loads(self.rfile.read(length)) if length else None

    def do_GET(self) -> None:
        self._called()
        page = int(self.path.rpartition("page=")[2])
        self._answer(200, self.server.comments[(page - 1) * 100 : page * 100])

    def do_POST(self) -> None:
        body = self._called()
        if self.server.is_read_only:
            self._answer(403, {"message": "Resource not accessible by integration"})
            return
        self.server.comments.append({"id": len(self.server.comments) + 1, "body": body["body"]})
        self._answer(201, self.server.comments[-1])

    def do_PATCH(self) -> None:
        body, number = self._called(), int(self.path.rpartition("/")[2])
        if number in self.server.foreign:
            self._answer(403, {"message": "Resource not accessible by integration"})
            return
        self.server.comments[number - 1]["body"] = body["body"]
        self._answer(200, self.server.comments[number - 1])

    def log_message(self, format: str, *values: object) -> None:
        pass


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", *arguments],
        cwd=folder,
        env=clean_environment({"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@dataclass(kw_only=True)
class Job:
    """One job of a workflow on a pull request, in a clone."""

    folder: Path
    base: str
    github: GitHub
    inputs: dict[str, str] = field(default_factory=dict)
    event_name: str = "pull_request"
    head_repository: str = "shop/prompts"
    outputs: dict[str, str] = field(default_factory=dict)

    def change(self, text: str, name: str = "prompts/shop.yaml") -> None:
        (self.folder / name).write_text(text, encoding="utf-8")
        git(self.folder, "add", ".")
        git(self.folder, "commit", "-qm", "change")

    def run(self) -> int:
        """Every step's script in order, as a runner does; the exit code of the one that judges."""
        runner = self.folder.parent / f"{self.folder.name}-runner"
        runner.mkdir(exist_ok=True)
        pull = {
            "number": 12,
            "title": '$(touch pwned) "; exit 0',
            "base": {"sha": self.base, "repo": {"full_name": "shop/prompts"}},
            "head": {"repo": {"full_name": self.head_repository}},
        }
        (runner / "event.json").write_text(json.dumps({"pull_request": pull}))
        for name in ("output", "summary", "path"):
            (runner / name).write_text("")
        codes = [self._step(step, runner) for step in action()["runs"]["steps"]]
        lines = (runner / "output").read_text().splitlines()
        self.outputs = dict(line.split("=", 1) for line in lines)
        assert codes[0] == codes[2] == 0
        return codes[1]

    def _step(self, step: dict[str, Any], runner: Path) -> int:
        environ = clean_environment(
            {
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "GIT_CONFIG_GLOBAL": os.devnull,
                "RUNNER_TEMP": str(runner),
                "GITHUB_ACTION_PATH": str(ACTION),
                "GITHUB_API_URL": self.github.url,
                "GITHUB_REPOSITORY": "shop/prompts",
                "GITHUB_EVENT_NAME": self.event_name,
                "GITHUB_EVENT_PATH": str(runner / "event.json"),
                "GITHUB_OUTPUT": str(runner / "output"),
                "GITHUB_STEP_SUMMARY": str(runner / "summary"),
                "GITHUB_PATH": str(runner / "path"),
            }
        )
        for name, value in step["env"].items():
            wanted = re.fullmatch(r"\$\{\{ inputs\.([a-z-]+) \}\}", value)
            assert wanted is not None, value
            environ[name] = self.inputs.get(wanted[1], "")
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=self.folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode

    @property
    def comment(self) -> str:
        return str(self.github.comments[-1]["body"])


def action() -> dict[str, Any]:
    return parsed((ACTION / "action.yml").read_text(encoding="utf-8"))


def parsed(text: str) -> dict[str, Any]:
    document = yaml_text.read(text)
    assert not document.faults, document.faults
    assert isinstance(document.data, dict)
    return document.data


@pytest.fixture(scope="module")
def demo() -> Iterator[DemoUpstream]:
    upstream = DemoUpstream()
    yield upstream
    upstream.close()


@pytest.fixture(scope="module")
def gateway(demo: DemoUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    server = RunningServer(
        tmp_path_factory.mktemp("gateway"), CONFIG.format(upstream=f'kind = "openai"\nbase_url = "{demo.base_url}"')
    )
    (server.directory / "prompts").mkdir()
    (server.directory / "prompts/shop.yaml").write_text(prompt(20))
    try:
        server.start()
        for command in (["push"], ["promote", "shop@1", "--override", "--reason", "stands"]):
            done = run_cli("prompt", *command, cwd=server.directory, environ={"HEADGATE_URL": server.url})
            assert done.returncode == 0, done.stderr
        yield server
    finally:
        server.close()


@pytest.fixture
def github() -> Iterator[GitHub]:
    server = GitHub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.fixture
def job(tmp_path: Path, github: GitHub) -> Job:
    folder = tmp_path / "clone"
    for name, text in {
        "prompts/shop.yaml": prompt(20),
        "evals/prices.yaml": SUITE,
        "evals/datasets/prices.jsonl": "".join(
            json.dumps({"input": {"question": f"What does the {WORDS[at]} cost?"}, "expected": f"{100 + 7 * at} dol"})
            + "\n"
            for at in range(CASES)
        ),
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "base")
    return Job(folder=folder, base=git(folder, "rev-parse", "HEAD"), github=github, inputs={"token": "ghs_x"})


@pytest.mark.slow
def test_a_worse_prompt_fails_the_pull_request_with_a_comment_that_says_so(job: Job, gateway: RunningServer) -> None:
    job.inputs["url"] = gateway.url
    job.change(prompt(3))
    assert job.run() == 1, job.comment
    assert job.outputs == {"verdict": "fail"}
    assert "The gate failed" in job.comment and "against `shop@1`" in job.comment
    assert gateway.api("/api/prompts/shop")["aliases"]["production"] == 1


@pytest.mark.slow
def test_a_change_passes_or_fails_or_stays_open_and_one_comment_follows_it(job: Job, gateway: RunningServer) -> None:
    job.inputs["url"] = gateway.url
    job.github.comments.append({"id": 1, "body": "<!-- headgate gate of this pull request -->\nforged: all is well"})
    job.github.foreign.add(1)

    job.change(prompt(CASES))
    assert job.run() == 0, job.comment
    assert job.outputs == {"verdict": "pass"}
    assert "The gate passed" in job.comment and "against `shop@1`" in job.comment

    job.change(prompt(4))
    assert job.run() == 1
    assert job.outputs == {"verdict": "fail"}
    assert "The gate failed" in job.comment and "The gate passed" not in job.comment

    job.inputs["policy"] = "standard"
    job.change(prompt(CASES, tone=" be calm"))
    assert job.run() == 3
    assert job.outputs == {"verdict": "inconclusive"}
    job.inputs["inconclusive"] = "allow"
    assert job.run() == 0
    assert job.outputs == {"verdict": "inconclusive"} and "Inconclusive is allowed here" in job.comment

    assert len(job.github.comments) == 2, "the comment that is ours was updated, another's left alone"
    assert job.github.comments[0]["body"].endswith("forged: all is well")
    assert {token for _, _, token in job.github.calls} == {"Bearer ghs_x"}
    aliases = gateway.api("/api/prompts/shop")["aliases"]
    assert aliases["production"] == 1 and aliases["pr-12"] > 1
    assert not list(job.folder.rglob("pwned"))


@pytest.mark.slow
def test_what_has_no_suite_is_named_and_is_no_evidence(job: Job, gateway: RunningServer) -> None:
    job.inputs["url"] = gateway.url
    job.change(prompt(3).replace("name: shop", "name: other"), "prompts/other.yaml")
    assert job.run() == 3
    assert "`other@1` is **not judged**" in job.comment


@pytest.mark.slow
def test_a_faulty_file_is_told_by_line_and_what_it_says_cannot_leave_its_block(
    job: Job, gateway: RunningServer
) -> None:
    job.inputs["url"] = gateway.url
    job.change("name: shop\nmodel: demo-chat\n'````\n# PASS': 1\n")
    assert job.run() == 2
    assert job.outputs == {"verdict": "error"}
    assert "prompts/shop.yaml:" in job.comment and "The gate passed" not in job.comment


def test_forks_and_events_with_secrets_for_strangers_reach_no_gateway(job: Job) -> None:
    job.inputs["url"] = "http://127.0.0.1:9"
    job.change(prompt(CASES))
    job.head_repository = "stranger/prompts"
    job.github.is_read_only = True  # as a fork's token
    assert job.run() == 3
    assert job.github.comments == []
    job.event_name = "pull_request_target"
    assert job.run() == 2
    assert job.outputs == {"verdict": "error"}


def test_a_pull_request_that_changes_no_prompt_is_skipped(job: Job) -> None:
    job.change("more", "README.md")
    assert job.run() == 0
    assert job.outputs == {"verdict": "skipped"}


@pytest.mark.slow
def test_without_a_gateway_one_is_started_that_has_the_base_as_production(job: Job, demo: DemoUpstream) -> None:
    job.inputs["config"] = "headgate.toml"
    upstream = f'kind = "openai"\nbase_url = "{demo.base_url}"'
    (job.folder / "headgate.toml").write_text(CONFIG.format(upstream=upstream))
    job.change(prompt(4))
    assert job.run() == 1
    assert "`shop@2` against `shop@1`" in job.comment
    assert not list((job.folder.parent / "clone-runner").glob("headgate-*/home"))


def test_no_script_holds_a_value_of_the_event_and_the_example_asks_for_little() -> None:
    for step in action()["runs"]["steps"]:
        assert "${{" not in step["run"] and step["shell"] == "bash"
        assert all("github.event" not in value for value in step["env"].values())
    page = PAGE.read_text(encoding="utf-8")
    workflows = [parsed(text) for text in re.findall(r"^```yaml\n(.*?)^```$", page, re.M | re.S)]
    assert len(workflows) == 2
    known = set(action()["inputs"])
    for workflow in workflows:
        assert workflow["permissions"] == {"contents": "read", "pull-requests": "write"}
        assert set(workflow["on"]) == {"pull_request"}
        for job in workflow["jobs"].values():
            for step in job["steps"]:
                assert re.search(r"@([0-9a-f]{40}|COMMIT)$", step["uses"]), "actions are pinned"
                if step["uses"].startswith("OWNER/headgate/"):
                    assert set(step["with"]) <= known

"""The image without a Docker engine: its file is linted, its build steps are run, and what they made is started as the
image starts it.
"""

import json
import re
import shlex
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from headgate.core.known_providers import KNOWN_PROVIDERS
from headgate.core.settings import Server
from support.installed import InstalledServer, run_installed
from support.server import RunningServer

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """One instruction of the Dockerfile, its continued lines joined."""

    word: str
    rest: str


def instructions() -> list[Instruction]:
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [Instruction(word=line.split()[0], rest=line.partition(" ")[2].strip()) for line in lines if line.strip()]


def last_stage() -> list[Instruction]:
    found = instructions()
    start = max(index for index, one in enumerate(found) if one.word == "FROM")
    return found[start:]


def only(word: str) -> str:
    """What the last stage says once."""
    (one,) = [one.rest for one in last_stage() if one.word == word]
    return one


def test_the_dockerfile_keeps_the_rules_that_matter() -> None:
    found = instructions()
    for one in found:
        if one.word == "FROM":
            assert re.fullmatch(r"python:3\.11-slim-bookworm( AS [a-z]+)?", one.rest), "a base with a version"
        assert one.word != "ADD", "COPY fetches and unpacks nothing"
        if one.word == "RUN":
            assert "apt" not in shlex.split(one.rest), "the base has what is needed"
            assert "curl" not in one.rest and "wget" not in one.rest
        if one.word in ("ENV", "ARG"):
            assert not re.search(r"KEY|TOKEN|SECRET|PASSWORD", one.rest), "no secret in a layer"
        if one.word == "COPY" and "--from=build" not in one.rest:
            for source in one.rest.split()[:-1]:
                assert (ROOT / source).exists(), source


def test_the_image_runs_as_nobody_special() -> None:
    assert only("USER") == "65532:65532"
    words = [one.word for one in last_stage()]
    assert "RUN" not in words[words.index("USER") :]


def test_the_volume_is_closed_to_others_before_it_is_declared() -> None:
    assert only("VOLUME") == only("WORKDIR") == "/data"
    assert "HEADGATE_HOME=/data" in only("ENV")
    assert "install --directory --owner=65532 --group=65532 --mode=0700 /data" in only("RUN")
    words = [one.word for one in last_stage()]
    assert words.index("RUN") < words.index("VOLUME")


def test_commands_are_in_exec_form_and_ports_agree() -> None:
    assert json.loads(only("CMD")) == ["headgate", "serve", "--host", "0.0.0.0"]
    assert only("EXPOSE") == str(Server().port)
    assert json.loads(only("HEALTHCHECK").partition("CMD ")[2]) == ["python", "/opt/headgate/ready.py"]


def test_only_what_is_named_gets_into_the_build() -> None:
    lines = (ROOT / ".dockerignore").read_text().split()
    assert lines[0] == "*"
    copied = {
        source.rstrip("/").split("/")[0]
        for one in instructions()
        if one.word == "COPY" and "--from" not in one.rest
        for source in one.rest.split()[:-1]
    }
    assert {line[1:] for line in lines if line.startswith("!")} == copied


def test_every_build_step_is_the_script_the_other_tests_run() -> None:
    runs = [one.rest for one in instructions() if one.word == "RUN"]
    assert runs[:2] == [f"sh docker/install.sh {step} /opt/headgate" for step in ("dependencies", "headgate")]


def test_an_unknown_build_step_is_refused() -> None:
    done = subprocess.run(
        ["sh", "docker/install.sh", "everything", "/nowhere"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "known: dependencies, headgate" in done.stderr) == (2, True)


@pytest.fixture
def container(installed: Path, tmp_path: Path) -> Iterator[RunningServer]:
    """The demo on all interfaces, with a closed data directory that exists already."""
    data = tmp_path / "image" / "home"
    data.mkdir(mode=0o700, parents=True)
    server = InstalledServer(installed, data.parent, arguments=["--demo", "--host", "0.0.0.0"])
    try:
        yield server.start()
    finally:
        server.close()


def test_beyond_loopback_a_key_is_required_and_the_first_one_is_minted(container: RunningServer) -> None:
    (ready,) = [line for line in container.out.json() if line.get("event") == "ready"]
    assert ready["require_key"] is True
    path = Path(ready["admin_key_file"])
    assert (path, stat.S_IMODE(path.stat().st_mode)) == (container.home / "admin.key", 0o600)
    body = {"model": "demo-chat", "messages": [{"role": "user", "content": "Hello"}]}
    status, refused = container.ask("/v1/chat/completions", body=body)
    assert (status, "headgate key create" in refused["error"]["message"]) == (401, True)
    container.key = path.read_text().strip()
    assert container.api("/v1/chat/completions", body=body)["object"] == "chat.completion"


def test_the_health_check_follows_the_server(container: RunningServer) -> None:
    command = [sys.executable, str(ROOT / "docker/ready.py")]
    environ = {"HEADGATE_HOME": str(container.home)}
    healthy = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert healthy.returncode == 0, healthy.stderr
    assert container.stop(signal.SIGTERM) == 0
    sick = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert (sick.returncode, "not ready" in sick.stderr) == (1, True)


def test_without_any_provider_key_it_says_what_to_do(installed: Path, tmp_path: Path) -> None:
    unset = {name: "" for known in KNOWN_PROVIDERS for name in known.key_names}
    environ = {**unset, "HEADGATE_HOME": str(tmp_path / "data")}
    done = run_installed(installed, "serve", "--host", "0.0.0.0", directory=tmp_path, environ=environ)
    assert done.returncode == 2
    assert "OPENAI_API_KEY" in done.stderr and "headgate serve --demo" in done.stderr


def test_a_data_directory_open_to_others_is_refused_with_the_remedy(installed: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(0o755)
    done = run_installed(
        installed, "serve", "--demo", "--host", "0.0.0.0", "--port", "0", "--home", str(data), directory=tmp_path
    )
    assert (done.returncode, f"chmod 700 {data}" in done.stderr) == (2, True)

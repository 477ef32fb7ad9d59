"""Servers that nobody here wrote, each in an environment of its own, before one Headgate; the SDKs reach both."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.aimock import PACKAGE
from support.both import Both, UpstreamProcess
from support.calls import Calls
from support.environments import node_with, python_with
from support.later import Later
from support.server import RunningServer

if TYPE_CHECKING:
    import anthropic
    import openai
else:
    anthropic = Later("anthropic")
    openai = Later("openai")

DATA = Path(__file__).parent / "data"
CONFIG = """
[server]
default_upstream = {{openai = "mock", anthropic = "mock-anthropic"}}

[upstreams.mock]
kind = "openai"
provider = "openai"
base_url = "{url}/v1"
auth = "caller"

[upstreams.mock-anthropic]
kind = "anthropic"
provider = "anthropic"
base_url = "{url}/v1"
auth = "caller"

[[routes]]
model = "*"
targets = [{{upstream = "mock"}}, {{upstream = "mock-anthropic"}}]
fallback_on = []
"""
TINY = """
[upstreams.tiny]
kind = "openai"
base_url = "{url}/v1"

[[routes]]
model = "tiny"
targets = [{{upstream = "tiny", model = "{model}"}}]

[[routes]]
model = "*"
targets = [{{upstream = "tiny"}}]
"""


@pytest.fixture(scope="session")
def aimock(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpstreamProcess]:
    """The mock server aimock with the answers of `data/aimock.json`."""
    modules = node_with(pytestconfig, tmp_path_factory, "aimock", PACKAGE)
    script = modules / "@copilotkit" / "aimock" / "dist" / "cli.js"
    served = UpstreamProcess(
        lambda port: ["node", str(script), "-p", str(port), "-f", str(DATA / "aimock.json"), "--journal-max", "0"],
        tmp_path_factory.mktemp("aimock-run"),
    )
    yield served
    served.close()


@pytest.fixture(scope="session")
def transformers(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpstreamProcess]:
    """`transformers serve` with a model of random weights, in the folder `tiny` beside its log."""
    requirements = ("torch==2.13.0", "transformers[serving]==5.23.0")
    python = python_with(pytestconfig, tmp_path_factory, "transformers", *requirements, timeout_s=1800)
    run, home = tmp_path_factory.mktemp("transformers-run"), tmp_path_factory.mktemp("hf-home")
    make_model(python, run / "tiny")
    offline = {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    program = [str(python.with_name("transformers")), "serve", str(run / "tiny"), "--device", "cpu"]
    options = ["--dtype", "float32", "--host", "127.0.0.1", "--default-seed", "7"]
    served = UpstreamProcess(lambda port: [*program, *options, "--port", str(port)], run, offline, 300)
    yield served
    served.close()


def make_model(python: Path, folder: Path) -> None:
    """Write the model by the interpreter that can."""
    script = Path(__file__).with_name("make_tiny_model.py")
    made = subprocess.run([str(python), str(script), str(folder)], capture_output=True, text=True, timeout=300)
    assert made.returncode == 0, made.stderr


@pytest.fixture(scope="session")
def mocked(aimock: UpstreamProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Headgate before aimock."""
    running = RunningServer(tmp_path_factory.mktemp("mocked"), CONFIG.format(url=aimock.url)).start()
    yield running
    running.close()


@pytest.fixture(scope="session")
def tiny(transformers: UpstreamProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Headgate before transformers."""
    model = str(transformers.log.parent / "tiny")
    running = RunningServer(tmp_path_factory.mktemp("tiny"), TINY.format(url=transformers.url, model=model)).start()
    yield running
    running.close()


def openai_pair(upstream: UpstreamProcess, server: RunningServer) -> Iterator[Both[openai.OpenAI]]:
    """The openai SDK, both ways."""
    calls = Calls(server)
    http = openai.DefaultHttpxClient(event_hooks={"response": [calls.note]}, trust_env=False)
    plain = openai.DefaultHttpxClient(trust_env=False)
    with (
        openai.OpenAI(
            base_url=f"{upstream.url}/v1", api_key="sk-of-a-client", max_retries=0, http_client=plain
        ) as direct,
        openai.OpenAI(
            base_url=f"{server.url}/v1", api_key="sk-of-a-client", max_retries=0, http_client=http
        ) as through,
    ):
        yield Both(direct=direct, through=through, calls=calls)


@pytest.fixture
def chat(aimock: UpstreamProcess, mocked: RunningServer) -> Iterator[Both[openai.OpenAI]]:
    yield from openai_pair(aimock, mocked)


@pytest.fixture
def local(transformers: UpstreamProcess, tiny: RunningServer) -> Iterator[Both[openai.OpenAI]]:
    yield from openai_pair(transformers, tiny)


@pytest.fixture
def claude(aimock: UpstreamProcess, mocked: RunningServer) -> Iterator[Both[anthropic.Anthropic]]:
    calls = Calls(mocked)
    http = anthropic.DefaultHttpxClient(event_hooks={"response": [calls.note]}, trust_env=False)
    plain = anthropic.DefaultHttpxClient(trust_env=False)
    with (
        anthropic.Anthropic(
            base_url=aimock.url, api_key="sk-ant-x-1234567", max_retries=0, http_client=plain
        ) as direct,
        anthropic.Anthropic(
            base_url=mocked.url, api_key="sk-ant-x-1234567", max_retries=0, http_client=http
        ) as through,
    ):
        yield Both(direct=direct, through=through, calls=calls)

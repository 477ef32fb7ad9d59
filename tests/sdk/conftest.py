"""The real SDKs on a whole server, in front of the demo provider; every call is then looked up in the log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from support.calls import Calls
from support.later import Later
from support.server import DemoUpstream, RunningServer, free_port

if TYPE_CHECKING:
    import anthropic
    import openai
else:
    anthropic = Later("anthropic")
    openai = Later("openai")

CONFIG = """
[server]
max_body_mb = 0.5

[upstreams.openai]
kind = "openai"
provider = "openai"
base_url = "{demo}"

[upstreams.anthropic]
kind = "anthropic"
provider = "anthropic"
base_url = "{demo}"

[upstreams.hasty]
kind = "openai"
base_url = "{demo}"
timeout = {{first_byte_s = 0.3}}

[upstreams.paced]
kind = "openai"
base_url = "{paced}"

[upstreams.nobody]
kind = "openai"
base_url = "http://127.0.0.1:{closed}/v1"

[[routes]]
model = "demo-slow"
targets = [{{upstream = "hasty"}}]

[[routes]]
model = "paced"
targets = [{{upstream = "paced", model = "demo-chat"}}]

[[routes]]
model = "unreachable"
targets = [{{upstream = "nobody"}}]

[[routes]]
model = "demo-*"
targets = [{{upstream = "openai"}}, {{upstream = "anthropic"}}]
fallback_on = []

[[routes]]
model = "claude-*"
targets = [{{upstream = "anthropic"}}]

[[routes]]
model = "gpt-*"
targets = [{{upstream = "openai"}}]

[[routes]]
model = "text-embedding-*"
targets = [{{upstream = "openai"}}]
"""


@pytest.fixture(scope="package")
def demo() -> Iterator[DemoUpstream]:
    upstream = DemoUpstream()
    yield upstream
    upstream.close()


@pytest.fixture(scope="package")
def paced() -> Iterator[DemoUpstream]:
    """Answers token by token, so that there is time to leave."""
    upstream = DemoUpstream(speed=1)
    yield upstream
    upstream.close()


@pytest.fixture(scope="package")
def server(
    tmp_path_factory: pytest.TempPathFactory, demo: DemoUpstream, paced: DemoUpstream
) -> Iterator[RunningServer]:
    config = CONFIG.format(demo=demo.base_url, paced=paced.base_url, closed=free_port())
    running = RunningServer(tmp_path_factory.mktemp("sdk"), config).start()
    yield running
    running.close()


@pytest.fixture
def calls(server: RunningServer) -> Calls:
    return Calls(server)


@pytest.fixture
def openai_client(server: RunningServer, calls: Calls) -> Iterator[openai.OpenAI]:
    http = openai.DefaultHttpxClient(event_hooks={"response": [calls.note]}, trust_env=False)
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="sk-anything", max_retries=0, http_client=http) as client:
        yield client


@pytest.fixture
def anthropic_client(server: RunningServer, calls: Calls) -> Iterator[anthropic.Anthropic]:
    http = anthropic.DefaultHttpxClient(event_hooks={"response": [calls.note]}, trust_env=False)
    with anthropic.Anthropic(
        base_url=server.url,
        api_key="sk-ant-anything",
        max_retries=0,
        http_client=http,
        _strict_response_validation=True,
    ) as client:
        yield client

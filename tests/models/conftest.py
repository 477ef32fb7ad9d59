"""One server with models for the tests of this package."""

from collections.abc import Iterator

import pytest

from support.models import breast_cancer, diabetes, register
from support.server import RunningServer

CONFIG = """
[upstreams.main]
kind = "openai"
base_url = "http://127.0.0.1:9/v1"

[models]
timeout_s = 2
memory_mb = 1024
spare = 2

[[protect]]
kind = "model"
name = "churn*"
alias = "champion"
policy = "standard"
approvers = 1
"""


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """`tumour` (a classifier, champion is version 1) and `progress` (a regression, no alias)."""
    running = RunningServer(tmp_path_factory.mktemp("models"), CONFIG)
    try:
        running.start()
        first = breast_cancer()
        register(running, "tumour", first.onnx, features=list(first.features), classes=["0", "1"], entity="patient")
        running.api("/api/models/tumour/aliases", body={"version": 1, "alias": "champion"})
        register(running, "progress", diabetes().onnx, features=list(diabetes().features))
        yield running
    finally:
        running.close()

"""schemathesis on the Open Inference Protocol's own OpenAPI file finds nothing.

The file in data/ is kserve/open-inference-protocol `specification/protocol/open_inference_rest.yaml`, Copyright 2023
The KServe Authors, Apache License 2.0; its path templates are filled in here.
"""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from support.server import RunningServer, clean_environment

FILE = Path(__file__).parent / "data" / "open_inference_rest.yaml"


def filled_in(folder: Path) -> Path:
    """The file with a model that is there, instead of the templates that no tool reads as parameters."""
    text = FILE.read_text(encoding="utf-8").replace("${MODEL_NAME}", "tumour").replace("${MODEL_VERSION}", "1")
    schema = yaml.safe_load(text)
    for item in schema["paths"].values():
        item.pop("parameters", None)
    path = folder / "open_inference.yaml"
    path.write_text(yaml.safe_dump(schema), encoding="utf-8")
    return path


def found_by_schemathesis(server: RunningServer, folder: Path, *, seed: int, examples: int) -> str:
    """Run its own command with all its checks; what it printed, which names every failure."""
    command = Path(sys.executable).parent / "schemathesis"
    # The file documents 400 beside 200: a call can fit the schema and name inputs that the model does not have.
    (folder / "schemathesis.toml").write_text(
        '[checks.positive_data_acceptance]\nexpected-statuses = ["2xx", "400"]\n', encoding="utf-8"
    )
    done = subprocess.run(
        [
            *(str(command), "run", str(filled_in(folder)), "--url", server.url, "--seed", str(seed)),
            *("--max-examples", str(examples), "--no-color", "--generation-deterministic"),
        ],
        cwd=folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-1000:]
    return done.stdout


@pytest.mark.slow
def test_nothing_is_found(server: RunningServer, tmp_path: Path) -> None:
    assert "6 selected" in found_by_schemathesis(server, tmp_path, seed=1, examples=20)
    assert server.post("/v2/models/tumour/infer", b"{}")[0] == 400


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
def test_nothing_is_found_with_many_examples(server: RunningServer, tmp_path: Path, seed: int) -> None:
    found_by_schemathesis(server, tmp_path, seed=seed, examples=200)

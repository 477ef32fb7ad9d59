"""The kserve REST client, unmodified, in an environment of its own that pip makes once."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from support.environments import python_with
from support.models import breast_cancer
from support.server import RunningServer, clean_environment

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def python_with_kserve(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a virtual environment with kserve, kept in pytest's cache directory if there is one."""
    return python_with(pytestconfig, tmp_path_factory, "kserve", "kserve==0.21.0")


def test_it_finds_the_server_live_and_its_answers_bit_for_bit_those_of_onnxruntime(
    python_with_kserve: Path, server: RunningServer
) -> None:
    rows = breast_cancer().rows[:4]
    script = Path(__file__).with_name("kserve_calls.py")
    ran = subprocess.run(
        [str(python_with_kserve), str(script), server.url, json.dumps(rows.tolist())],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout.splitlines()[-1])
    assert (said["live"], said["ready"], said["model_ready"]) == (True, True, True)
    labels, scores = breast_cancer().local(rows)
    for form in ("json", "binary"):
        assert said[form]["label"] == labels.tolist()
        assert np.array(said[form]["probabilities"], dtype=np.float32).tobytes() == scores.tobytes()
    assert "shape [4, 29]. Expected: X FP32 [-1, 30]" in said["refused"]

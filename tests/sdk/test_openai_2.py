"""The openai SDK 2.x, still in many applications, in an environment of its own that pip makes once."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.server import RunningServer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def python_with_openai_2(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a virtual environment with openai 2.x, kept in pytest's cache directory if there is one."""
    cache: pytest.Cache | None = getattr(pytestconfig, "cache", None)
    place = tmp_path_factory.mktemp("openai-2") if cache is None else cache.mkdir("openai-2")
    python = place / "bin" / "python"
    done = place / "installed"
    if not done.exists():
        made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], capture_output=True, text=True)
        if made.returncode:
            pytest.skip(f"no virtual environment for openai 2.x: {made.stderr.strip()[-200:]}")
        pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--quiet", "openai>=2,<3"]
        installed = subprocess.run(pip, capture_output=True, text=True, timeout=600)
        if installed.returncode:
            pytest.skip(f"pip cannot install openai 2.x: {installed.stderr.strip()[-200:]}")
        done.touch()
    return python


def test_openai_2_calls_are_answered_and_logged(python_with_openai_2: Path, server: RunningServer) -> None:
    script = Path(__file__).with_name("openai_2_calls.py")
    ran = subprocess.run(
        [str(python_with_openai_2), str(script), f"{server.url}/v1"], capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    assert said["version"].startswith("2.")
    rows = {name: server.row(request_id) for name, request_id in said["ids"].items()}
    assert {name: (row["endpoint"], row["stream"], row["outcome"]) for name, row in rows.items()} == {
        "chat": ("openai.chat", False, "ok"),
        "stream": ("openai.chat", True, "ok"),
        "responses": ("openai.responses", True, "ok"),
        "embeddings": ("openai.embeddings", False, "ok"),
        "refused": ("openai.chat", False, "refused"),
        "async": ("openai.chat", True, "ok"),
    }
    for name in ("chat", "stream", "responses", "embeddings", "async"):
        assert rows[name]["cost_usd"] is not None, name
        assert rows[name]["usage_source"] == "provider", name
    assert rows["chat"]["client"].startswith(f"OpenAI/Python {said['version']}")

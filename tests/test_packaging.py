"""What is installed: the wheel's contents, how much comes with it, and the first minute in an empty directory."""

import importlib.metadata
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from support.installed import InstalledServer, run_installed
from support.server import eventually

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
MAX_DISTRIBUTIONS = 40
_LOCKED = re.compile(r"^([a-z0-9-]+)==(\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)", re.MULTILINE)


def locked(name: str) -> dict[str, str]:
    """Distribution to version, of one lock file; everything in it must have hashes."""
    text = (ROOT / "requirements" / f"{name}.lock").read_text()
    found = {match[1]: match[2] for match in _LOCKED.finditer(text)}
    assert len(found) == sum("==" in line for line in text.splitlines()), f"{name}.lock has lines without hashes"
    return found


def with_requirements(*names: str) -> set[str]:
    """These distributions and all they need, read from this environment."""
    found: set[str] = set()
    waiting = [canonicalize_name(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        for text in importlib.metadata.requires(name) or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(canonicalize_name(requirement.name))
    return found


def test_every_dependency_is_locked_with_hashes_and_nothing_else_is() -> None:
    base = locked("base")
    declared = {canonicalize_name(Requirement(text).name) for text in PROJECT["project"]["dependencies"]}
    assert declared <= set(base)
    assert set(base) == with_requirements(*declared)
    for text in PROJECT["project"]["dependencies"]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(base[canonicalize_name(requirement.name)]), text


def test_the_locks_agree() -> None:
    base, dev, build = locked("base"), locked("dev"), locked("build")
    assert base.items() <= dev.items()
    assert build.items() <= dev.items()
    assert base["duckdb"] == "1.5.5"
    assert locked("openai-2")["openai"].startswith("2.")


def test_at_most_40_distributions_with_both_sdks() -> None:
    declared = [Requirement(text).name for text in PROJECT["project"]["dependencies"]]
    assert len(with_requirements(*declared, "openai", "anthropic")) <= MAX_DISTRIBUTIONS


def test_no_dependency_runs_code_at_start() -> None:
    for name in locked("base"):
        files = importlib.metadata.files(name)
        assert files, name
        assert not [path for path in files if path.suffix == ".pth"], name


@pytest.mark.slow
def test_what_is_installed_is_what_the_lock_says_and_runs_no_code_at_start(installed_from_lock: Path) -> None:
    (site,) = (installed_from_lock / "lib").glob("python3*/site-packages")
    assert not list(site.glob("*.pth"))
    there = {str(canonicalize_name(d.name)): d.version for d in importlib.metadata.distributions(path=[str(site)])}
    assert there.pop("headgate") == PROJECT["project"]["version"]
    assert there == locked("base")


def test_the_wheel_has_everything_but_the_tests(installed: Path) -> None:
    (site,) = (installed / "lib").glob("python3*/site-packages")
    package = site / "headgate"
    have = {str(path.relative_to(package)) for path in package.rglob("*") if path.is_file()}
    source = ROOT / "src" / "headgate"
    want = {
        str(path.relative_to(source))
        for path in source.rglob("*")
        if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in path.relative_to(source).parts)
    }
    assert want <= have
    assert {name for name in have - want if not name.endswith(".pyc")} == set()
    assert {"py.typed", "core/settings.toml", "pricing/data/o200k_base.tiktoken.xz"} <= want
    licenses = site / f"headgate-{PROJECT['project']['version']}.dist-info" / "licenses"
    assert {path.name for path in licenses.iterdir()} == {"LICENSE", "NOTICE"}


def test_the_version_is_the_same_everywhere(installed: Path, tmp_path: Path) -> None:
    version = PROJECT["project"]["version"]
    assert run_installed(installed, "--version", directory=tmp_path).stdout == f"headgate {version}\n"
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("place", ["installed", pytest.param("installed_from_lock", marks=pytest.mark.slow)])
def test_the_first_minute_in_an_empty_directory(place: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    installed: Path = request.getfixturevalue(place)
    server = InstalledServer(installed, tmp_path / "empty", arguments=["--demo"])
    try:
        server.start()
        body = {"model": "demo-chat", "messages": [{"role": "user", "content": "What is a gateway?"}]}
        answer = server.api("/v1/chat/completions", body=body)
        assert answer["usage"]["completion_tokens"] > 0
        (row,) = eventually(server.rows, within_s=5, what="the request is in the log")
        assert (row["model"], row["outcome"], row["cost_source"]) == ("demo-chat", "ok", "listed")
        assert server.stop() == 0
    finally:
        server.close()
    listed = run_installed(installed, "log", "list", "--json", "--home", str(server.home), directory=server.directory)
    assert json.loads(listed.stdout)["total"]["requests"] == 1

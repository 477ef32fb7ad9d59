"""The documents: links resolve, the reference is what the code says, commands and settings named exist, and examples
marked with ``<!-- run -->`` run against a demo server and print what ``<!-- prints -->`` shows.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from headgate.cli.main import headgate
from headgate.core.settings import DEFAULT_URL, load
from support.server import RunningServer, clean_environment, eventually

ROOT = Path(__file__).parents[1]
MAX_README_LINES = 150
WRITTEN = sorted(
    [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
    + [ROOT / folder / "README.md" for folder in ("prompts", "evals")]
)
_BLOCK = re.compile(
    r"(?:<!-- (?P<mark>run|prints) -->\n)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_COMMAND = re.compile(r"\bheadgate ((?:[a-z]+)(?:[ |][a-z]+(?:-[a-z]+)*)*)")


@dataclass(frozen=True, kw_only=True)
class Block:
    """One fenced block of a document."""

    page: Path
    line: int
    mark: str | None
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{name_of(self.page)}:{self.line}"


@dataclass(frozen=True, kw_only=True)
class Example:
    """A block to run, and the lines it must print."""

    block: Block
    prints: tuple[str, ...]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        yield Block(page=page, line=line, mark=match["mark"], kind=match["kind"], text=match["text"])


def examples() -> list[Example]:
    found: list[Example] = []
    for page in WRITTEN:
        for block in blocks(page):
            if block.mark == "run":
                found.append(Example(block=block, prints=()))
            elif block.mark == "prints":
                found[-1] = Example(block=found[-1].block, prints=tuple(block.text.splitlines()))
    return found


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    directory = tmp_path_factory.mktemp("documents")
    server = RunningServer(directory, arguments=["--demo"], home=directory / ".headgate-demo")
    try:
        server.start()
        hello = {"model": "demo-chat", "messages": [{"role": "user", "content": "Hello"}]}
        server.api("/v1/chat/completions", body=hello)  # so that `last` is there, whichever example runs first
        eventually(server.rows, within_s=5, what="the first request is in the log")
        yield server
    finally:
        server.close()


def environment(server: RunningServer) -> dict[str, str]:
    """As in the terminal of someone who follows the document, with `headgate` and `python` on the PATH."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return clean_environment({"PATH": path, "HEADGATE_URL": server.url})


def parameters() -> list[object]:
    """README and tutorial in every run, the rest in `make test-all`."""
    first = (ROOT / "README.md", ROOT / "docs/tutorial/first-ten-minutes.md")
    return [
        pytest.param(example, id=str(example.block), marks=() if example.block.page in first else pytest.mark.slow)
        for example in examples()
    ]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """The directory of someone who follows a page from its top: one for all its examples."""
    made: dict[Path, Path] = {}

    def folder(page: Path) -> Path:
        if page not in made:
            made[page] = tmp_path_factory.mktemp(page.stem)
        return made[page]

    return folder


@pytest.mark.parametrize("example", parameters())
def test_the_example_runs_and_prints_what_the_page_shows(
    example: Example, demo: RunningServer, folders: Callable[[Path], Path]
) -> None:
    text = example.block.text.replace(DEFAULT_URL, demo.url)
    command = {"python": [sys.executable, "-c", text], "bash": ["bash", "-euo", "pipefail", "-c", text]}
    done = subprocess.run(
        command[example.block.kind],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=folders(example.block.page),
        env=environment(demo),
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout + done.stderr
    for line in example.prints:
        assert line in done.stdout.splitlines()


def test_the_readme_and_the_tutorial_have_examples_that_run() -> None:
    pages = {name_of(example.block.page) for example in examples()}
    assert {"README.md", "docs/tutorial/first-ten-minutes.md", "docs/how-to/point-an-app.md"} <= pages


def test_the_readme_fits_and_opens_with_the_two_commands() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MAX_README_LINES
    commands = [line.split("#")[0].strip() for line in lines[:8]]
    assert [line for line in commands if line.startswith("make")] == ["make serve", "make test"]


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_links_resolve(page: Path) -> None:
    text = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    broken = []
    for target in _LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path) if path else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)
    assert not broken


def anchors(page: Path) -> set[str]:
    """The anchors that a Markdown viewer makes of the headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_reached_from_the_index() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / target).resolve() for target in _LINK.findall(index.read_text(encoding="utf-8"))}
    pages = {page for page in WRITTEN if page.is_relative_to(ROOT / "docs") and page != index}
    assert {name_of(page) for page in pages - linked} == set()


def test_the_reference_is_what_the_code_says() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts/reference.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def known_commands() -> set[str]:
    context = click.Context(headgate)
    found = set(headgate.list_commands(context))
    for name in list(found):
        command = headgate.get_command(context, name)
        if isinstance(command, click.Group):
            found |= {f"{name} {inner}" for inner in command.list_commands(context)}
    return found


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_only_commands_that_exist_are_named(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    code = "\n".join([block.text for block in blocks(page)] + re.findall(r"`([^`\n]+)`", _BLOCK.sub("", text)))
    known = known_commands()
    groups = {name.split()[0] for name in known if " " in name}
    wrong = []
    for match in _COMMAND.finditer(code):
        first, _, rest = match[1].partition(" ")
        if first == "headgate":
            continue  # docker run ... headgate headgate serve: the image and its command
        is_whole = first not in groups or not rest
        names = [first] if is_whole else [f"{first} {inner}" for inner in rest.split()[0].split("|")]
        wrong += [name for name in names if name not in known]
    assert not wrong, wrong


@pytest.mark.parametrize(
    "block",
    [block for page in WRITTEN for block in blocks(page) if block.kind == "toml"],
    ids=str,
)
def test_the_configuration_shown_is_accepted(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "headgate.toml"
    path.write_text(block.text)
    settings = load(path, environ={"OPENAI_API_KEY": "sk-test"})
    assert settings.upstreams
    assert not [warning for warning in settings.warnings if "never" in warning]

"""Every command explains itself, and ``--help`` loads nothing heavy."""

import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from headgate.cli.lazy import LazyGroup
from headgate.cli.main import headgate

HEAVY = ("rich", "duckdb", "httpx2", "openai", "anthropic", "numpy", "starlette", "uvicorn", "msgspec", "asyncio")


def paths_of(group: LazyGroup, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name in group.entries:
        command = group.get_command(click.Context(group), name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, LazyGroup):
            yield from paths_of(command, (*path, name))


COMMANDS = dict(paths_of(headgate)) if isinstance(headgate, LazyGroup) else {}


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_and_option_has_help(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(headgate, [*path, "--help"])
    assert result.exit_code == 0
    assert f"Usage: headgate {' '.join(path)}" in result.output
    command = COMMANDS[path]
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help or parameter.metavar, f"{path} {parameter.name}"


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_is_named_as_it_is_called(path: tuple[str, ...]) -> None:
    assert COMMANDS[path].name == path[-1]


@pytest.mark.parametrize("path", [path for path, command in COMMANDS.items() if not isinstance(command, LazyGroup)])
def test_every_command_shows_an_example(path: tuple[str, ...]) -> None:
    assert path == ("key", "list") or "xample" in (COMMANDS[path].help or "")


def test_help_lists_the_commands_that_work_and_no_others() -> None:
    listed = set(headgate.list_commands(click.Context(headgate)))
    data = {"log", "explain", "cost", "sql", "history"}
    data = {"log", "explain", "cost", "sql", "history"}
    objects = {"prompt", "kb", "model", "label", "dataset", "eval", "judge", "score", "key"}
    assert listed == data | objects | {"init", "serve", "restart", "backup", "verify", "status", "doctor"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["log", "--help"],
        ["log", "list", "--help"],
        ["serve", "--help"],
        ["prompt", "push", "--help"],
        ["eval", "gate", "--help"],
    ],
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from headgate.cli.main import main; main(sys.argv[1:]); "
        f"print(sorted(set(sys.modules) & set({HEAVY!r})), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=30, check=True
    )
    assert "Usage: headgate" in done.stdout
    assert done.stderr.strip() == "[]"


def test_the_version_is_printed() -> None:
    done = subprocess.run([sys.executable, "-m", "headgate", "--version"], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout.split()[0]) == (0, "headgate")

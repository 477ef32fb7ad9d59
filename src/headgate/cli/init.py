"""``headgate init``: a commented headgate.toml, folders, a sample prompt, its suite and judge to start from."""

import importlib.resources
import os
from pathlib import Path

import click

from headgate.core.errors import ConfigurationError

FOLDERS = {
    "prompts": "One YAML file per prompt.",
    "evals": "Evaluation suites and their cases.",
    "kb": "Texts of your knowledge bases.",
}

SAMPLES = ("support-answer.yaml", "judge-rubric.yaml")
"""The prompt to start from, and the judge that its suite names."""
SAMPLE_SUITE = ("support-answer.yaml", "datasets/support-golden.jsonl")
"""The suite to start from, and its cases."""


@click.command("init")
@click.argument("directory", metavar="[DIR]", type=click.Path(path_type=Path, file_okay=False), default=Path("."))
def init(directory: Path) -> None:
    """Write a commented headgate.toml, folders (prompts/, evals/, kb/), a sample prompt, its suite and its judge into
    DIR (default: here).

    Nothing that exists is changed.

    \b
    Examples:
      headgate init
      headgate init ~/gateway && cd ~/gateway && OPENAI_API_KEY=... headgate serve
    """
    package = importlib.resources.files("headgate")
    template = package / "cli" / "templates" / "headgate.toml"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _write_new(directory / "headgate.toml", template.read_text(encoding="utf-8"))
        for folder in FOLDERS:
            _make_folder(directory / folder)
        for name in SAMPLES:
            text = (package / "samples" / "prompts" / name).read_text(encoding="utf-8")
            _write_new(directory / "prompts" / name, text)
        (directory / "evals" / "datasets").mkdir(exist_ok=True)
        for name in SAMPLE_SUITE:
            text = (package / "samples" / "evals").joinpath(*name.split("/")).read_text(encoding="utf-8")
            _write_new(directory / "evals" / name, text)
        _ignore_home(directory / ".gitignore")
    except OSError as error:
        raise ConfigurationError(
            f"{error.filename or directory} cannot be written: {error.strerror}.",
            hint="Choose another: headgate init DIR.",
        ) from error
    click.echo("Next: set a provider key and start (OPENAI_API_KEY=... headgate serve), or headgate serve --demo")


def _write_new(path: Path, text: str) -> None:
    """Writes a file that is not there yet."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        click.echo(f"kept     {path} (it exists)")
        return
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    click.echo(f"written  {path}")


def _make_folder(path: Path) -> None:
    if path.is_dir():
        click.echo(f"kept     {path}/ (it exists)")
        return
    path.mkdir()
    click.echo(f"made     {path}/  {FOLDERS[path.name]}")


def _ignore_home(path: Path) -> None:
    """Keeps the data directory, with prompts and answers in it, out of version control."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    missing = [line for line in (".headgate/", ".headgate-demo/") if line not in lines]
    if not missing:
        return
    if lines:
        click.echo(f"advice   add {' and '.join(missing)} to {path}: prompts and answers do not belong into Git")
        return
    _write_new(path, "".join(f"{line}\n" for line in missing))

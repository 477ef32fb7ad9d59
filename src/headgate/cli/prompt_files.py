"""``headgate prompt push`` and ``pull``: files into versions, and versions into files."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from headgate.cli.connect import connect, home_option
from headgate.cli.output import emit_json, note
from headgate.cli.prompt_text import changes_of, listed_version, reference_in, summary
from headgate.cli.text import many, printable

if TYPE_CHECKING:
    from headgate.client import Client
    from headgate.prompts.files import PromptFile

FOLDER = Path("prompts")
_ENDINGS = (".yaml", ".yml")
_MAX_FILE_BYTES = 2 << 20
_SHOWN_CHANGES = 12


@click.command("push")
@click.argument("paths", nargs=-1, metavar="[FILES]...", type=click.Path(path_type=Path))
@click.option("-m", "--message", metavar="TEXT", help="What changed and why; kept with each new version.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: pushed.")
@home_option
def push(paths: Sequence[Path], message: str | None, as_json: bool, home: Path | None) -> None:
    """Store prompt files as versions: all or none. The same content is the same version.

    FILES are files or folders; default: the .yaml files in prompts/. Within a git work tree the commit and its author
    are kept with new versions. No alias moves: see headgate prompt promote.

    \b
    Examples:
      headgate prompt push
      headgate prompt push prompts/support-answer.yaml --message "shorter answers"
      headgate prompt push shop/prompts --json
    """
    from headgate.cli.git import origin_of
    from headgate.client import GatewayRefused

    files = _found(paths)
    texts = [(str(file), read_text(file)) for file in files]
    origin = origin_of(files)
    with connect(home) as client:
        try:
            answer = client.push_prompts(texts, message=message, git_commit=origin.commit, author=origin.author)
        except GatewayRefused as error:
            if error.code != "prompt_invalid":
                raise
            faults = str(error).splitlines()
            raise click.ClickException("\n".join([*faults, "Nothing was pushed."])) from None
        if as_json:
            emit_json(answer)
            return
        for pushed in answer.get("pushed") or []:
            _print_pushed(client, pushed)


def _print_pushed(client: "Client", pushed: Mapping[str, Any]) -> None:
    for warning in pushed.get("warnings") or []:
        note(f"warning: {warning}")
    ref, previous, latest = printable(pushed.get("ref")), pushed.get("previous"), pushed.get("latest")
    if not pushed.get("is_new"):
        # Content that was pushed before keeps its number; the newest version stays what it was.
        if pushed.get("archived"):
            what = "unchanged, and archived"
        elif pushed.get("number") != latest:
            what = f"unchanged; the newest is @{printable(latest)}"
        else:
            what = "unchanged"
        click.echo(f"{ref}  {what}")
        return
    if previous is None:
        click.echo(f"{ref}  new")
        return
    name = str(pushed["name"])
    click.echo(f"{ref}  new version, after @{printable(previous)}:")
    changes = changes_of(client.prompt_difference(name, previous, pushed["number"]))
    for change in changes[:_SHOWN_CHANGES]:
        click.echo(f"  {summary(change)}")
    if len(changes) > _SHOWN_CHANGES:
        click.echo(f"  … and {many(len(changes) - _SHOWN_CHANGES, 'field')} more")
    click.echo(f"  all of it: headgate prompt diff {printable(name)}@{printable(previous)} @{pushed['number']}")


def _found(paths: Sequence[Path]) -> list[Path]:
    """The files that are meant, each once."""
    given = list(paths) or [FOLDER]
    if not paths and not FOLDER.is_dir():
        raise click.UsageError("There is no folder prompts/ here. Name files, or make a start: headgate init")
    found: dict[Path, None] = {}
    for path in given:
        if path.is_dir():
            inside = [
                file for file in sorted(path.rglob("*")) if file.suffix in _ENDINGS and not _is_hidden(file, path)
            ]
            if not inside:
                raise click.UsageError(f"{path}/ holds no .yaml file. A sample to start from: headgate init")
            found.update(dict.fromkeys(inside))
        else:
            found[path] = None
    return list(found)


def _is_hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def read_text(path: Path) -> str:
    """The text of a file; raises UsageError where it cannot be read as one."""
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise click.UsageError(f"{path} cannot be read: {error.strerror or error}.") from None
    if len(raw) > _MAX_FILE_BYTES:
        raise click.UsageError(f"{path} is larger than {_MAX_FILE_BYTES >> 20} MB, the most a prompt file has.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise click.UsageError(f"{path}:{line} is not UTF-8 text.") from None


def parsed(path: Path, text: str) -> "PromptFile":
    """The prompt in a file; raises ClickException with every fault."""
    from headgate.prompts.faults import PromptFault
    from headgate.prompts.files import parse_prompt_file

    try:
        return parse_prompt_file(text, str(path))
    except PromptFault as fault:
        raise click.ClickException("\n".join(fault.faults)) from None


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What a pull makes of one file."""

    ref: str
    path: Path
    text: str
    does: Literal["written", "replaced", "unchanged", "kept"]
    why: str = ""  # why it is kept


@click.command("pull")
@click.argument("names", nargs=-1, metavar="[NAME[@REF]]...")
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=FOLDER,
    show_default=True,
    metavar="DIR",
    help="Where the files go.",
)
@click.option("--force", is_flag=True, help="Replace files whose changes were never pushed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: pulled.")
@home_option
def pull(names: Sequence[str], folder: Path, force: bool, as_json: bool, home: Path | None) -> None:
    """Write versions as files: the newest of every prompt, or those named. Pushing them again gives the same versions.

    A file with the same content stays as it is, comments included. A file that holds another pushed version is
    replaced; one with changes that were never pushed stops the pull before anything is written, unless --force.

    \b
    Examples:
      headgate prompt pull
      headgate prompt pull support-answer@production classify-ticket --force
      headgate prompt pull --to /tmp/prompts
    """
    with connect(home) as client:
        wanted = names or [str(found["name"]) for found in client.prompts().get("prompts") or []]
        plans = [_plan(client, name, folder, force) for name in wanted]
    kept = [plan for plan in plans if plan.does == "kept"]
    if kept:
        said = [f"{plan.path} {plan.why}." for plan in kept]
        raise click.ClickException("\n".join([*said, "Nothing was written. Push them first, or replace them: --force"]))
    for plan in plans:
        if plan.does != "unchanged":
            _write(plan.path, plan.text)
    if as_json:
        emit_json({"pulled": [{"ref": plan.ref, "file": str(plan.path), "does": plan.does} for plan in plans]})
        return
    if not plans:
        note("There are no prompts to pull.")
    for plan in plans:
        click.echo(f"{plan.does:<9}  {printable(plan.path)}  {printable(plan.ref)}")


def _plan(client: "Client", wanted: str, folder: Path, force: bool) -> _Plan:
    import msgspec

    from headgate.prompts.files import PromptFile, dump_prompt_file
    from headgate.prompts.model import PromptContent
    from headgate.prompts.reference import parse_reference

    reference = parse_reference(wanted)
    found = client.prompt(reference.name)
    is_bare = reference.number is None and reference.alias is None
    version = client.prompt_version(reference.name, "latest" if is_bare else reference_in(found, reference) or "latest")
    listed = listed_version(found, version["number"])
    prompt = PromptFile(
        name=reference.name,
        description=str(found.get("description") or ""),
        suites=tuple(listed.get("suites") or ()),
        content=msgspec.convert(version["content"], PromptContent),
    )
    path = _file_of(folder, reference.name)
    does, why = _compared(path, prompt, {str(one.get("sha256")) for one in found.get("versions") or []})
    if does == "kept" and force:
        does = "replaced"
    return _Plan(ref=str(version["ref"]), path=path, text=dump_prompt_file(prompt), does=does, why=why)


def _file_of(folder: Path, name: str) -> Path:
    """The file of a prompt; the one that is there when it ends with .yml."""
    usual = folder / f"{name}.yaml"
    other = folder / f"{name}.yml"
    return other if other.exists() and not usual.exists() else usual


def _compared(
    path: Path, prompt: "PromptFile", known: Iterable[str]
) -> tuple[Literal["written", "replaced", "unchanged", "kept"], str]:
    """What may become of the file at ``path`` when ``prompt`` is pulled; ``known`` are the hashes of all versions."""
    from headgate.prompts.faults import PromptFault
    from headgate.prompts.files import parse_prompt_file
    from headgate.prompts.model import content_sha256

    if not path.exists() and not path.is_symlink():
        return "written", ""
    try:
        there = parse_prompt_file(read_text(path), str(path))
    except (PromptFault, click.UsageError):
        return "kept", "is no prompt file that can be read"
    if there.name != prompt.name:
        return "kept", f'holds another prompt, "{there.name}"'
    if there == prompt:
        return "unchanged", ""
    sha256 = content_sha256(there.content)
    if sha256 == content_sha256(prompt.content):
        return "kept", "has another description or other suites"
    if sha256 not in known:
        return "kept", "has changes that were never pushed"
    return "replaced", ""


def _write(path: Path, text: str) -> None:
    """Writes a file that is either complete or as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    partial.unlink(missing_ok=True)
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        with open(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)

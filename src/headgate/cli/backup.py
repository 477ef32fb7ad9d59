"""``headgate backup``: a copy of everything, while the server serves."""

import contextlib
import secrets
from pathlib import Path

import click

from headgate.cli.connect import connect, home_option
from headgate.cli.output import emit_json
from headgate.cli.text import many, size
from headgate.core.errors import HomeError

_TOKEN_BYTES = 16


@click.command("backup")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False), metavar="DIR")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: directory, files, bytes, linked.")
@home_option
def backup(directory: Path, as_json: bool, home: Path | None) -> None:
    """Copy log, bodies, registry, snapshot and configuration to DIR, which must be new or empty.

    The copy is a data directory itself: point --home or HEADGATE_HOME at it. It holds no provider key and no admin key.
    Sealed files, knowledge bases, datasets and models never change, so on the same disk they are linked and take no
    room; a copy that is to survive that disk belongs on another one.

    The server goes on serving. DIR is on the server's machine, and the command runs as the server's user.

    \b
    Examples:
      headgate backup /backup/headgate-$(date +%F)
      headgate verify --home /backup/headgate-2026-11-29
      headgate serve --home /backup/headgate-2026-11-29
    """
    target = directory.absolute()
    token = secrets.token_hex(_TOKEN_BYTES)
    proof = target / f".headgate-backup-{token}"
    try:
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(target.iterdir()):
            raise HomeError(f"{target} is not empty.", hint="Name a new directory.")
        proof.touch(mode=0o600)
    except OSError as error:
        raise HomeError(f"{target} cannot be written: {error.strerror}.", hint="Name another directory.") from error
    try:
        with connect(home) as client:
            answer = client.backup(str(target), token)
    finally:
        proof.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            target.rmdir()  # only when nothing was written
    if as_json:
        emit_json(answer)
        return
    click.echo(
        f"{many(answer.get('files'), 'file')} with {size(answer.get('bytes'))} are in {target}, "
        f"{answer.get('linked')} of them linked."
    )
    click.echo(f"Prove it: headgate verify --home {target}")

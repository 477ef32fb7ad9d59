"""``headgate doctor``: looks at everything that commonly goes wrong and says how to mend it."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headgate.cli.checks import (
    Finding,
    Level,
    clock_finding,
    home_findings,
    policy_findings,
    port_finding,
    server_findings,
    settings_findings,
    vocabulary_finding,
)
from headgate.cli.connect import home_option
from headgate.cli.output import emit_json
from headgate.cli.text import printable
from headgate.cli.ways import way_findings
from headgate.core.errors import ConfigurationError, HeadgateError

if TYPE_CHECKING:
    from headgate.core.settings import Settings

_COLOURS = {"ok": "green", "advice": "yellow", "fault": "red"}


@click.command("doctor")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The configuration.  [default: HEADGATE_CONFIG, else headgate.toml if it exists]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: findings, faults.")
@home_option
def doctor(config: Path | None, home: Path | None, as_json: bool) -> int:
    """Check configuration, provider keys, proxies, certificates, data directory, disk, port, server, prices and clock.

    Every finding says what is wrong and how to mend it. Exit code 1 when a fault was found; advice alone is no fault.

    \b
    Examples:
      headgate doctor
      headgate doctor --home /var/lib/headgate --config /etc/headgate.toml
      headgate doctor --json | jq '.findings[] | select(.level == "fault")'
    """
    findings: list[Finding] = []
    for finding in examine(config, home):
        findings.append(finding)
        if not as_json:
            _print(finding)
    faults = sum(finding.level == "fault" for finding in findings)
    if as_json:
        emit_json({"findings": [asdict(finding) for finding in findings], "faults": faults})
    else:
        advice = sum(finding.level == "advice" for finding in findings)
        click.echo(f"\nFaults: {faults}. Advice: {advice}. Findings in all: {len(findings)}.")
    return 1 if faults else 0


def _print(finding: Finding) -> None:
    mark = click.style(f"{finding.level:<6}", fg=_COLOURS[finding.level])
    click.echo(f"{mark}  {finding.check:<14}  {printable(finding.what)}")
    if finding.mend:
        click.echo(f"{'':24}-> {printable(finding.mend)}")


def examine(config: Path | None, home: Path | None) -> Iterator[Finding]:
    """All findings, in the order a person would look."""
    from headgate.core.settings import DEFAULT_HOME, DEMO_HOME, client_environment

    try:
        named = home or client_environment().home
    except ConfigurationError as error:
        yield Finding(check="environment", level="fault", what=str(error), mend=error.hint)
        return
    usual, demo = Path(DEFAULT_HOME), Path(DEMO_HOME)
    place = named or (demo if demo.is_dir() and not usual.is_dir() else usual)
    settings, fault = _settings(config, demo=config is None and place.name == demo.name)
    if fault is not None:
        yield fault
    elif settings is not None:
        yield from settings_findings(settings)
        yield from way_findings(settings)
        yield from policy_findings(settings)
    yield from home_findings(place, settings.log.max_disk_gb if settings is not None else 20)
    yield from _server(settings, place, home)
    yield vocabulary_finding()


def _settings(config: Path | None, *, demo: bool) -> "tuple[Settings | None, Finding | None]":
    from headgate.core.settings import load

    try:
        return load(config, demo=demo), None
    except ConfigurationError as error:
        # A demo runs without file and key, so their absence alone is no fault.
        level: Level = "advice" if str(error).startswith("No upstream:") else "fault"
        return None, Finding(check="configuration", level=level, what=str(error), mend=error.hint)


def _server(settings: "Settings | None", place: Path, home: Path | None) -> Iterator[Finding]:
    from headgate.cli.connect import running
    from headgate.client import NoGateway

    with running(home) as client:
        try:
            if client is None:
                raise NoGateway(f"No server runs on {place}.")
            yield from server_findings(client)
        except NoGateway as error:
            if settings is not None:
                yield port_finding(settings, place)
            mend = "Start it: headgate serve (or headgate serve --demo)."
            yield Finding(check="server", level="advice", what=str(error), mend=mend)
            yield clock_finding(None)
        except HeadgateError as error:
            yield Finding(check="server", level="fault", what=str(error), mend=error.hint)

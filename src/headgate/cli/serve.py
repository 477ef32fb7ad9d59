"""``headgate serve``: starts the gateway."""

from pathlib import Path

import click


@click.command("serve")
@click.option("--demo", is_flag=True, help="A built-in provider that needs no key, with its own home .headgate-demo.")
@click.option(
    "--host",
    metavar="ADDRESS",
    help="Where to listen. Beyond loopback a Headgate key is required.  [default: 127.0.0.1]",
)
@click.option("--port", type=click.IntRange(0, 65535), help="Where to listen; 0 takes a free port.  [default: 4400]")
@click.option("--workers", type=click.IntRange(1, 64), help="Worker processes; one per core is plenty.  [default: 1]")
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="The data directory.  [default: HEADGATE_HOME, else .headgate]",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The configuration.  [default: HEADGATE_CONFIG, else headgate.toml if it exists]",
)
def serve(
    demo: bool, host: str | None, port: int | None, workers: int | None, home: Path | None, config: Path | None
) -> int:
    """Start the gateway and keep it running until Ctrl-C or SIGTERM, which lose nothing.

    Without a configuration file, upstreams come from the provider keys in the environment (OPENAI_API_KEY,
    ANTHROPIC_API_KEY, ...). Flags win over the file.

    \b
    Examples:
      headgate serve --demo
      OPENAI_API_KEY=... headgate serve
      headgate serve --workers 4 --home /var/lib/headgate --config /etc/headgate.toml

    \b
    Base URLs: OpenAI clients http://127.0.0.1:4400/v1, Anthropic clients http://127.0.0.1:4400
    """
    from headgate.core.settings import DEFAULT_HOME, DEMO_HOME, client_environment, load
    from headgate.supervisor import ServeOptions, run

    settings = load(config, demo=demo, host=host, port=port, workers=workers)
    # The demo has a home of its own even where HEADGATE_HOME names one: its rows must never mix with real ones.
    fallback = Path(DEMO_HOME) if demo else client_environment().home or Path(DEFAULT_HOME)
    return run(ServeOptions(settings=settings, home=home or fallback, demo=demo))

"""Settings for one worker in front of scripted upstreams."""

from headgate.core.settings import Log, Route, Server, Settings, Target, Timeout, Upstream


def settings_for(
    *upstreams: Upstream, routes: tuple[Route, ...] = (), server: Server | None = None, log: Log | None = None
) -> Settings:
    """Settings with every model going to the first upstream, unless routes say otherwise."""
    first = upstreams[0]
    defaults = {dialect: first.name for dialect in ("openai", "anthropic") if first.speaks(dialect)}
    server = server or Server(default_upstream=defaults, drain_s=2)
    everything = Route(model="*", targets=tuple(Target(upstream=one.name) for one in upstreams), fallback_on=())
    return Settings(
        server=server,
        log=log or Log(),
        upstreams={one.name: one for one in upstreams},
        routes=(*routes, everything),
    )


QUICK = Timeout(connect_s=1.0, first_byte_s=1.0, between_bytes_s=1.0)

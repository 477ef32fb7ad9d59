"""The settings of a server, from `headgate.toml`, the environment or the demo; nothing else reads the environment."""

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from headgate.core.addresses import fault_of_base_url, fault_of_host, is_loopback, points_at
from headgate.core.errors import ConfigurationError
from headgate.core.known_providers import KNOWN_PROVIDERS, KnownProvider, models_of, provider_id
from headgate.core.routing import nearest_route_names, route_for
from headgate.core.secret_shapes import shown
from headgate.core.settings_build import (
    DEMO_BASE_URL,
    default_upstreams,
    first_by_dialect,
    log_of,
    model_limits_of,
    prices_of,
    protect_of,
    routes_of,
    server_of,
    upstreams_of,
    warn_of_hidden_routes,
)
from headgate.core.settings_file import ConfigFile
from headgate.core.settings_types import (
    DIALECTS,
    Dialect,
    Log,
    Models,
    Price,
    Protect,
    Route,
    Server,
    Settings,
    Source,
    Target,
    Timeout,
    Upstream,
)

__all__ = [
    "DEFAULT_FILE",
    "DEFAULT_URL",
    "DEMO_BASE_URL",
    "DIALECTS",
    "ClientEnvironment",
    "Dialect",
    "Log",
    "Models",
    "Price",
    "Protect",
    "Route",
    "Server",
    "Settings",
    "Source",
    "Target",
    "Timeout",
    "Upstream",
    "admin_key",
    "child_environment",
    "client_environment",
    "environment",
    "load",
    "nearest_route_names",
    "proxy_secret_of",
    "route_for",
    "secret_of",
    "secret_source",
    "secret_warnings",
]

DEFAULT_FILE = "headgate.toml"
DEFAULT_URL = "http://127.0.0.1:4400"
DEFAULT_HOME = ".headgate"
DEMO_HOME = ".headgate-demo"
MAX_SECRET_BYTES = 64 << 10
# Names of variables that hold secrets of others; a child that needs none of them does not get them.
_SECRET_NAME = re.compile(r"(?:.*_)?(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS)")


@dataclass(frozen=True, kw_only=True)
class ClientEnvironment:
    """What the environment tells commands."""

    url: str
    api_key: str | None
    home: Path | None  # None: HEADGATE_HOME is not set
    config: Path | None


def environment() -> Mapping[str, str]:
    """The environment of this process; every other reader in Headgate goes through this module."""
    return os.environ


def client_environment(environ: Mapping[str, str] | None = None) -> ClientEnvironment:
    """HEADGATE_URL, HEADGATE_API_KEY, HEADGATE_HOME and HEADGATE_CONFIG."""
    env = environment() if environ is None else environ
    url = env.get("HEADGATE_URL") or DEFAULT_URL
    if fault := fault_of_base_url(url):
        raise ConfigurationError(f"HEADGATE_URL = {shown(url)} is not allowed: {fault}.", hint=f"Write {DEFAULT_URL}.")
    home, config = env.get("HEADGATE_HOME"), env.get("HEADGATE_CONFIG")
    return ClientEnvironment(
        url=url.rstrip("/").removesuffix("/v1"),
        api_key=env.get("HEADGATE_API_KEY") or None,
        home=Path(home) if home else None,
        config=Path(config) if config else None,
    )


def admin_key(environ: Mapping[str, str] | None = None) -> str | None:
    """The first admin key from HEADGATE_ADMIN_KEY or the file HEADGATE_ADMIN_KEY_FILE names; None: mint one."""
    env = environment() if environ is None else environ
    if value := env.get("HEADGATE_ADMIN_KEY"):
        return _clean(value, "HEADGATE_ADMIN_KEY")
    if name := env.get("HEADGATE_ADMIN_KEY_FILE"):
        return _secret_in(Path(name), "HEADGATE_ADMIN_KEY_FILE")
    return None


def secret_of(upstream: Upstream, environ: Mapping[str, str] | None = None) -> str | None:
    """The stored key of ``upstream``, read anew from its variable or file; None: it has none or it is not set."""
    if upstream.auth == "caller" or upstream.kind == "demo":
        return None
    env = environment() if environ is None else environ
    if upstream.api_key_env is not None:
        value = env.get(upstream.api_key_env)
        return _clean(value, upstream.api_key_env) if value else None
    if upstream.api_key_file is not None:
        return _secret_in(Path(upstream.api_key_file), f"api_key_file of upstream {upstream.name}")
    return None


def proxy_secret_of(upstream: Upstream, environ: Mapping[str, str] | None = None) -> str | None:
    """USER:PASSWORD for the proxy of ``upstream``; None: it asks for none. Raises ConfigurationError."""
    if upstream.proxy_auth_env is None:
        return None
    env = environment() if environ is None else environ
    return _clean(env.get(upstream.proxy_auth_env, ""), upstream.proxy_auth_env)


def secret_source(upstream: Upstream) -> str:
    """Where the key of ``upstream`` comes from, for people: ``OPENAI_API_KEY``, a file, the caller, or none."""
    if upstream.kind == "demo":
        return "no key needed"
    if upstream.auth == "caller":
        return "the caller's own key"
    return upstream.api_key_env or upstream.api_key_file or "no key"


def secret_warnings(upstream: Upstream, environ: Mapping[str, str] | None = None) -> list[str]:
    """What is doubtful about where the key of ``upstream`` is kept; never the key."""
    if upstream.auth == "caller" or upstream.kind == "demo":
        return []
    try:
        secret = secret_of(upstream, environ)
    except ConfigurationError as error:
        return [error.sentence]
    found: list[str] = []
    if secret is None and upstream.api_key_env is not None:
        found.append(f'{upstream.api_key_env} is not set, so upstream "{upstream.name}" will refuse requests.')
    if upstream.api_key_file is not None:
        mode = stat.S_IMODE(Path(upstream.api_key_file).stat().st_mode)
        if mode & 0o077:
            name = upstream.api_key_file
            found.append(f"{name} is open to others (mode {mode:04o}). Run: chmod 600 {name}")
    return found


def child_environment(
    settings: Settings, *, with_secrets: bool, environ: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The environment for a child process: the upstreams' secrets only for those that call upstreams (workers)."""
    env = environment() if environ is None else environ
    upstreams = settings.upstreams.values() if with_secrets else ()
    needed = {u.api_key_env for u in upstreams if u.auth == "stored"} | {u.proxy_auth_env for u in upstreams}
    return {name: value for name, value in env.items() if name in needed or not _SECRET_NAME.fullmatch(name.upper())}


def load(
    config: Path | None = None,
    *,
    demo: bool = False,
    environ: Mapping[str, str] | None = None,
    host: str | None = None,
    port: int | None = None,
    workers: int | None = None,
) -> Settings:
    """The settings of a server; ``host``, ``port`` and ``workers`` (flags) win over the file.

    Without ``config`` the file is HEADGATE_CONFIG, else ./headgate.toml when it exists, else upstreams come from the
    provider keys in the environment. ``demo`` reads no file unless one is given, and never a provider key.
    Raises ConfigurationError.
    """
    env = environment() if environ is None else environ
    path = config
    if path is None and not demo:
        path = Path(env["HEADGATE_CONFIG"]) if env.get("HEADGATE_CONFIG") else Path(DEFAULT_FILE)
        if not env.get("HEADGATE_CONFIG") and not path.exists():
            path = None
    flags = {key: value for key, value in (("host", host), ("port", port), ("workers", workers)) if value is not None}
    if path is not None:
        settings = _from_file(ConfigFile(path), flags, demo, env)
    elif demo:
        settings = _demo(_flagged(Server(), flags))
    else:
        settings = _with_routes(_from_environment(_flagged(Server(), flags), env))
    return settings


def _from_file(file: ConfigFile, flags: Mapping[str, str | int], demo: bool, env: Mapping[str, str]) -> Settings:
    file.table(file.data, (), "")
    server = _flagged(server_of(file), flags)
    log = log_of(file)
    upstreams = upstreams_of(file)
    if demo:
        _refuse_real_upstreams(file, upstreams)
    source: Source = "file"
    if not upstreams and not file.faults:
        found = _demo(server) if demo else _from_environment(server, env)
        upstreams, source = dict(found.upstreams), found.source
        file.warnings.extend(found.warnings)
    for upstream in upstreams.values():
        if upstream.base_url != DEMO_BASE_URL and points_at(upstream.base_url, server.host, server.port):
            file.fault(
                ("upstreams", upstream.name, "base_url"),
                f'upstream "{upstream.name}" points at this server itself ({shown(upstream.base_url)}).',
            )
    routes = routes_of(file, upstreams)
    prices, protect = prices_of(file, upstreams), protect_of(file)
    server = replace(server, default_upstream=default_upstreams(file, server, upstreams))
    warn_of_hidden_routes(file, routes)
    file.refuse_faults()
    return _with_routes(
        Settings(
            server=server,
            log=log,
            models=model_limits_of(file),
            upstreams=upstreams,
            routes=routes,
            prices=prices,
            protect=protect,
            source=source,
            file=file.name,
            warnings=tuple(file.warnings),
        )
    )


def _refuse_real_upstreams(file: ConfigFile, upstreams: Mapping[str, Upstream]) -> None:
    for upstream in upstreams.values():
        if upstream.kind != "demo":
            file.fault(
                ("upstreams", upstream.name),
                f'--demo calls no provider, and upstream "{upstream.name}" has kind "{upstream.kind}". '
                "Start without --demo, or give --demo no --config.",
            )


def _from_environment(server: Server, env: Mapping[str, str]) -> Settings:
    upstreams: dict[str, Upstream] = {}
    warnings: list[str] = []
    for known in KNOWN_PROVIDERS:
        key_name = next((name for name in known.key_names if env.get(name, "").strip()), None)
        if key_name is not None:
            upstreams[known.name] = _found(known, key_name, server, env, warnings)
    if not upstreams:
        raise ConfigurationError(
            f"No upstream: there is no {DEFAULT_FILE} with [upstreams], and no provider key in the environment.",
            hint="Any one of these will do: export OPENAI_API_KEY=… (or ANTHROPIC_API_KEY, GEMINI_API_KEY, "
            "MISTRAL_API_KEY, …) and start again; headgate serve --demo needs no key; headgate init writes a file.",
        )
    server = replace(server, default_upstream=first_by_dialect(upstreams))
    return Settings(server=server, upstreams=upstreams, source="environment", warnings=tuple(warnings))


def _found(
    known: KnownProvider, key_name: str, server: Server, env: Mapping[str, str], warnings: list[str]
) -> Upstream:
    base_url, provider = known.base_url, known.provider
    given = env.get(known.base_url_name, "").strip() if known.base_url_name else ""
    if given:
        ours = env.get("HEADGATE_URL", "").rstrip("/").removesuffix("/v1")
        if fault := fault_of_base_url(given):
            raise ConfigurationError(f"{known.base_url_name} = {shown(given)} is not allowed: {fault}.")
        if points_at(given, server.host, server.port) or (ours and f"{given}/".startswith(f"{ours}/")):
            warnings.append(
                f'{known.base_url_name} points at this server itself, so upstream "{known.name}" is {known.base_url}.'
            )
        else:
            base_url = given.rstrip("/")
            # Anthropic's SDK adds /v1 to its base URL, OpenAI's does not (seen 2026-11).
            if known.kind == "anthropic" and not base_url.endswith("/v1"):
                base_url += "/v1"
    return Upstream(
        name=known.name,
        kind=known.kind,
        base_url=base_url,
        provider=provider if base_url == known.base_url else provider_id(base_url),
        api_key_env=key_name,
        auth_header="x-api-key" if known.kind == "anthropic" else "authorization",
    )


def _demo(server: Server) -> Settings:
    upstream = Upstream(name="demo", kind="demo", provider="demo", base_url=DEMO_BASE_URL)
    return Settings(
        server=replace(server, default_upstream={dialect: "demo" for dialect in DIALECTS}),
        upstreams={"demo": upstream},
        routes=(Route(model="*", targets=(Target(upstream="demo"),)),),
        protect=(Protect(kind="prompt", policy="starter"), Protect(kind="kb", policy="starter")),
        source="demo",
    )


def _with_routes(settings: Settings) -> Settings:
    """Without routes, every model goes to the provider it belongs to, and the rest to the default upstreams."""
    if settings.routes:
        return settings
    routes = [
        Route(model=glob, targets=(Target(upstream=upstream.name),))
        for upstream in settings.upstreams.values()
        for glob in models_of(upstream.provider)
    ]
    defaults = dict.fromkeys(
        settings.server.default_upstream[d] for d in DIALECTS if d in settings.server.default_upstream
    )
    seen: dict[str, Route] = {}
    for route in (*routes, Route(model="*", targets=tuple(Target(upstream=name) for name in defaults))):
        seen.setdefault(route.model, route)
    return replace(settings, routes=tuple(seen.values()))


def _flagged(server: Server, flags: Mapping[str, str | int]) -> Server:
    """``server`` with the flags applied; a key is required beyond loopback, whatever was said."""
    server = replace(server, **flags)  # type: ignore[arg-type]
    if "host" in flags and (fault := fault_of_host(server.host)):
        raise ConfigurationError(f"--host {shown(server.host)}: {fault}.")
    if not 0 <= server.port <= 65535:
        raise ConfigurationError(f"--port {server.port} is not allowed. Allowed: 0 to 65535.")
    if not 1 <= server.workers <= 64:
        raise ConfigurationError(f"--workers {server.workers} is not allowed. Allowed: 1 to 64.")
    return replace(server, require_key=server.require_key or not is_loopback(server.host))


def _secret_in(path: Path, what: str) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{what}: {path} cannot be read ({error.strerror}).") from None
    try:
        return _clean(raw.decode("ascii"), f"{what}, {path}")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{what}: {path} holds bytes that no key has.") from None


def _clean(value: str, what: str) -> str:
    """The secret without blanks around it; refused, without showing it, when no header could carry it."""
    secret = value.strip()
    if not secret or len(secret) > MAX_SECRET_BYTES or not (secret.isascii() and secret.isprintable()):
        raise ConfigurationError(
            f"{what} holds no key: it is empty, or has line breaks or signs that no header carries."
        )
    return secret

"""Turns a checked `headgate.toml` into Settings: what one value alone cannot tell is checked here."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from headgate.core.addresses import fault_of_base_url, fault_of_host, fault_of_origin, fault_of_proxy
from headgate.core.known_providers import is_provider_name, known_provider, provider_id
from headgate.core.protection import SHIPPED_POLICIES
from headgate.core.routing import matches
from headgate.core.secret_shapes import looks_like_secret, shown
from headgate.core.settings_file import NAME, SECRET_ADVICE, ConfigFile, nearest
from headgate.core.settings_types import (
    DIALECTS,
    Log,
    Models,
    Price,
    Protect,
    Route,
    Server,
    Target,
    Timeout,
    Upstream,
)

DEMO_BASE_URL = "unix:demo"
MAX_ROUTES = 1000
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
_AUTH_HEADERS = frozenset(
    ("authorization", "x-api-key", "api-key", "x-goog-api-key", "proxy-authorization", "cookie", "x-auth-token")
)
_OUR_HEADERS = frozenset(
    ("host", "connection", "content-length", "content-type", "transfer-encoding", "te", "trailer", "upgrade", "expect")
    + ("keep-alive", "proxy-connection", "content-encoding", "accept-encoding")
)


def server_of(file: ConfigFile) -> Server:
    """[server], except what depends on the upstreams."""
    values = _section(file, "server")
    if fault := fault_of_host(values["host"]):
        file.fault(("server", "host"), f"server.host = {shown(values['host'])}: {fault}.")
    for number, host in enumerate(values["hosts"]):
        if fault := fault_of_host(host):
            file.fault(("server", "hosts", number), f"{shown(host)} in server.hosts: {fault}.")
    for number, origin in enumerate(values["origins"]):
        if fault := fault_of_origin(origin):
            file.fault(("server", "origins", number), f"{shown(origin)} in server.origins: {fault}.")
    for dialect in values["default_upstream"]:
        if dialect not in DIALECTS:
            file.fault(
                ("server", "default_upstream", dialect),
                f"server.default_upstream names the dialect {shown(dialect)}. Allowed: openai, anthropic.",
            )
    values["hosts"] = tuple(host.lower().strip("[]").rstrip(".") for host in values["hosts"])
    values["origins"] = tuple(origin.lower() for origin in values["origins"])
    return Server(**values)


def log_of(file: ConfigFile) -> Log:
    """[log]."""
    log = Log(**_section(file, "log"))
    if log.body_days > log.row_days:
        file.fault(
            ("log", "body_days"),
            f"log.body_days = {log.body_days} is more than log.row_days = {log.row_days}; bodies go with their rows.",
        )
    return log


def model_limits_of(file: ConfigFile) -> Models:
    """[models]."""
    return Models(**_section(file, "models"))


def upstreams_of(file: ConfigFile) -> dict[str, Upstream]:
    """[upstreams.*], in the order written."""
    tables = file.data.get("upstreams", {})
    found: dict[str, Upstream] = {}
    if not isinstance(tables, dict):
        return found
    for name, data in tables.items():
        path = ("upstreams", name)
        if not NAME.fullmatch(name):
            file.fault(path, f"upstream name {shown(name)} is not allowed. Allowed: a-z, 0-9, _ and -, at most 64.")
        elif not isinstance(data, dict):
            file.fault(path, f"upstreams.{name} = {shown(data)} is not a table. Write [upstreams.{name}].")
        else:
            found[name] = _upstream(file, name, data)
    return found


def routes_of(file: ConfigFile, upstreams: Mapping[str, Upstream]) -> tuple[Route, ...]:
    """[[routes]]; every target names a known upstream."""
    routes: list[Route] = []
    for number, values in enumerate(file.tables(file.data.get("routes", []), ("routes",), "routes[]", MAX_ROUTES)):
        path = ("routes", number, "targets")
        if values["targets"] == []:
            file.fault(path, f"routes[{number + 1}].targets is empty. Write targets = [{{upstream = …}}].")
        targets: list[Target] = []
        for place, target in enumerate(file.tables(values["targets"], path, "routes[].targets[]", 16)):
            if target["upstream"] is not None:
                _known_upstream(file, target["upstream"], upstreams, (*path, place, "upstream"))
                targets.append(Target(**target))
        if values["model"] is not None:
            routes.append(Route(**{**values, "targets": tuple(targets)}))
    return tuple(routes)


def prices_of(file: ConfigFile, upstreams: Mapping[str, Upstream]) -> tuple[Price, ...]:
    """[[prices]]."""
    prices: list[Price] = []
    for number, values in enumerate(file.tables(file.data.get("prices", []), ("prices",), "prices[]", MAX_ROUTES)):
        path = ("prices", number)
        values["from_date"] = values.pop("from")
        if values["upstream"] is not None:
            _known_upstream(file, values["upstream"], upstreams, (*path, "upstream"))
        if not any(key.endswith("_mtok") for key in file.data["prices"][number]):
            file.fault(path, f"[[prices]] number {number + 1} has no price. Write input_mtok and output_mtok.")
        elif values["model"] is not None:
            prices.append(Price(**values))
    return tuple(prices)


def protect_of(file: ConfigFile) -> tuple[Protect, ...]:
    """[[protect]]."""
    found = file.tables(file.data.get("protect", []), ("protect",), "protect[]", MAX_ROUTES)
    return tuple(
        Protect(**values, policy_file=_policy_file(file, values["policy"]), where=file.where("protect", number))
        for number, values in enumerate(found)
        if values["kind"] is not None
    )


def _policy_file(file: ConfigFile, policy: str | None) -> str | None:
    """Where the policy is, when it is none that ships; what is in it is read when it is needed."""
    if policy is None or policy in SHIPPED_POLICIES:
        return None
    return str((file.directory / Path(policy).expanduser()).absolute())


def default_upstreams(file: ConfigFile, server: Server, upstreams: Mapping[str, Upstream]) -> dict[str, str]:
    """Per dialect the upstream for requests without a model: as written, else the first that speaks it."""
    chosen = first_by_dialect(upstreams)
    for dialect, name in server.default_upstream.items():
        if dialect not in DIALECTS:
            continue  # faulted with the section
        path = ("server", "default_upstream", dialect)
        if name not in upstreams and is_provider_name(name):
            file.warnings.append(
                f"{file.where(*path)}: there is no [upstreams.{name}], so {dialect} requests without a model go to "
                f"{chosen.get(dialect, 'no upstream')}."
            )
            continue
        _known_upstream(file, name, upstreams, path)
        if name in upstreams and not upstreams[name].speaks(dialect):
            file.fault(path, f'upstream "{name}" has kind "{upstreams[name].kind}" and does not speak {dialect}.')
        chosen[dialect] = name
    return chosen


def first_by_dialect(upstreams: Mapping[str, Upstream]) -> dict[str, str]:
    """Per dialect the name of the first upstream that speaks it."""
    firsts = {d: next((u.name for u in upstreams.values() if u.speaks(d)), None) for d in DIALECTS}
    return {dialect: name for dialect, name in firsts.items() if name is not None}


def warn_of_hidden_routes(file: ConfigFile, routes: tuple[Route, ...]) -> None:
    """Notes a warning for every route that an earlier one hides."""
    for number, route in enumerate(routes):
        hiding = next((n for n in range(number) if matches(routes[n].model, route.model)), None)
        if hiding is not None:
            file.warnings.append(
                f"{file.where('routes', number)}: route {shown(route.model)} is never reached, because "
                f"{shown(routes[hiding].model)} at line {file.where('routes', hiding).rpartition(' ')[2]} comes first."
            )


def _section(file: ConfigFile, name: str) -> dict[str, Any]:
    data = file.data.get(name, {})
    return file.table(data if isinstance(data, dict) else {}, (name,), name)


def _known_upstream(
    file: ConfigFile, name: str, upstreams: Mapping[str, Upstream], path: tuple[str | int, ...]
) -> None:
    if name in upstreams:
        return
    close = nearest(name, list(upstreams))
    advice = f"Nearest: {close}." if close else f"Known: {', '.join(upstreams) or 'none'}."
    file.fault(path, f"there is no upstream {shown(name)}. {advice}")


def _upstream(file: ConfigFile, name: str, data: Mapping[str, Any]) -> Upstream:
    path = ("upstreams", name)
    values = file.table(data, path, "upstreams.NAME")
    values["timeout"] = Timeout(**file.table(values["timeout"], (*path, "timeout"), "upstreams.NAME.timeout"))
    values["kind"] = values["kind"] or "openai"  # its absence is a fault already
    values["base_url"] = _base_url(file, path, values)
    values["provider"] = values["provider"] or ("demo" if values["kind"] == "demo" else provider_id(values["base_url"]))
    values["headers"] = _headers(file, path, values["headers"])
    _check_auth(file, path, values)
    if values["auth_header"] is None:
        values["auth_header"] = "x-api-key" if values["kind"] == "anthropic" else "authorization"
    values["auth_header"] = values["auth_header"].lower()
    if values["api_key_file"] is not None:
        values["api_key_file"] = str(file.directory / Path(values["api_key_file"]).expanduser())
    _check_way(file, path, values)
    for number, allowed in enumerate(values["allow_paths"]):
        if allowed != "*" and not allowed.startswith("/"):
            file.fault(
                (*path, "allow_paths", number), f"{shown(allowed)} in allow_paths must begin with /v1/, or be *."
            )
    return Upstream(name=name, **values)


def _base_url(file: ConfigFile, path: tuple[str, str], values: Mapping[str, Any]) -> str:
    url: str | None = values["base_url"]
    if url is None:
        if values["kind"] != "demo":
            file.fault(path, f"[upstreams.{path[1]}] lacks base_url. Allowed: a URL such as https://api.openai.com/v1.")
        return DEMO_BASE_URL
    place = (*path, "base_url")
    if url == DEMO_BASE_URL:
        if values["kind"] != "demo":
            file.fault(place, f'base_url = "{url}" goes with kind = "demo" only.')
        return url
    if fault := fault_of_base_url(url):
        file.fault(place, f"base_url = {shown(url)} is not allowed: {fault}.")
        return DEMO_BASE_URL
    known = known_provider(url)
    if known is not None and not urlsplit(url).path.strip("/") and urlsplit(known.base_url).path:
        file.fault(place, f"base_url = {shown(url)} lacks its path; it stands for the client's /v1: {known.base_url}.")
    return url.rstrip("/")


def _headers(file: ConfigFile, path: tuple[str, str], headers: Mapping[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        place = (*path, "headers", name)
        if not _HEADER_NAME.fullmatch(name):
            file.fault(place, f"{shown(name)} is not a header name.")
        elif name.lower() in _AUTH_HEADERS or looks_like_secret(value):
            file.fault(place, f"headers.{name} of [upstreams.{path[1]}] holds a secret. {SECRET_ADVICE}")
        elif name.lower() in _OUR_HEADERS or name.lower().startswith("x-headgate-"):
            file.fault(place, f"headers.{name} of [upstreams.{path[1]}] is set by Headgate itself; leave it out.")
        elif not value.isascii():
            file.fault(place, f"headers.{name} = {shown(value)} is not allowed. Allowed: printable ASCII.")
    return {name.lower(): value for name, value in headers.items()}


def _check_way(file: ConfigFile, path: tuple[str, str], values: dict[str, Any]) -> None:
    """proxy, ca_file and the client's certificate."""
    proxy, env = values["proxy"], values["proxy_auth_env"]
    if proxy is not None and (fault := fault_of_proxy(proxy)):
        file.fault((*path, "proxy"), f"proxy = {shown(proxy)} is not allowed: {fault}.")
    if env is not None and (looks_like_secret(env) or not _ENV_NAME.fullmatch(env)):
        kind = "holds a secret" if looks_like_secret(env) else f"{shown(env)} is not the name of a variable"
        file.fault((*path, "proxy_auth_env"), f"proxy_auth_env of [upstreams.{path[1]}]: {kind}. {SECRET_ADVICE}")
    for key, needed in (("proxy_auth_env", "proxy"), ("client_key_file", "client_cert_file")):
        if values[key] is not None and values[needed] is None:
            file.fault((*path, key), f"{key} of [upstreams.{path[1]}] goes with {needed} only.")
    for key in ("ca_file", "client_cert_file", "client_key_file"):
        if values[key] is None:
            continue
        values[key] = str(file.directory / Path(values[key]).expanduser())
        if not Path(values[key]).is_file():
            file.fault((*path, key), f"{key} of [upstreams.{path[1]}]: there is no file {shown(values[key])}.")


def _check_auth(file: ConfigFile, path: tuple[str, str], values: Mapping[str, Any]) -> None:
    env, key_file, header = values["api_key_env"], values["api_key_file"], values["auth_header"]
    if env is not None and (looks_like_secret(env) or not _ENV_NAME.fullmatch(env)):
        kind = "holds a secret" if looks_like_secret(env) else f"{shown(env)} is not the name of a variable"
        file.fault((*path, "api_key_env"), f"api_key_env of [upstreams.{path[1]}]: {kind}. {SECRET_ADVICE}")
    if key_file is not None and looks_like_secret(key_file):
        file.fault((*path, "api_key_file"), f"api_key_file of [upstreams.{path[1]}] holds a secret. {SECRET_ADVICE}")
    if env is not None and key_file is not None:
        file.fault((*path, "api_key_file"), f"[upstreams.{path[1]}] has both api_key_env and api_key_file; keep one.")
    given = [key for key in ("api_key_env", "api_key_file") if values[key] is not None]
    if given and values["kind"] == "demo":
        file.fault((*path, given[0]), f'{given[0]}: an upstream of kind "demo" takes no key.')
    elif given and values["auth"] == "caller":
        file.fault((*path, given[0]), f'{given[0]} is not used with auth = "caller"; remove one of the two.')
    if header is not None and (not _HEADER_NAME.fullmatch(header) or header.lower() in _OUR_HEADERS | {"cookie"}):
        file.fault((*path, "auth_header"), f"auth_header = {shown(header)} cannot carry a key.")

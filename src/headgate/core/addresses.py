"""Checks of hosts, origins and base URLs; each returns what is wrong in words, None when nothing is."""

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*\.?")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on ``host``."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def fault_of_host(host: str) -> str | None:
    """What is wrong with a host name or IP address."""
    if re.fullmatch(r"\[?[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*\]?", host):
        try:
            ipaddress.IPv6Address(host.strip("[]"))
        except ValueError:
            return "it is neither a host name nor an IP address (write no port)"
        return None
    return None if _HOST_NAME.fullmatch(host) else "it is neither a host name nor an IP address (write no port)"


def fault_of_origin(origin: str) -> str | None:
    """What is wrong with a browser origin."""
    parts = _split(origin)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        return "an origin is written https://app.example, with a port where it has one"
    if parts.path or parts.query or parts.fragment or "@" in parts.netloc or "#" in origin or "?" in origin:
        return "an origin ends after host and port"
    return fault_of_host(parts.hostname)


def fault_of_base_url(url: str) -> str | None:
    """What is wrong with the base URL of an upstream."""
    parts = _split(url)
    if parts is None:
        return "it is not a URL such as https://api.openai.com/v1"
    if "@" in parts.netloc:
        return "it holds a user name or password; put the secret where api_key_env or api_key_file points"
    if "?" in url or "#" in url:
        return "it holds a query or fragment; it stands for the client's /v1, so only a path may follow the host"
    if parts.scheme not in ("http", "https"):
        return "it must begin with https:// or http://"
    if not parts.hostname or fault_of_host(parts.hostname):
        return "its host is neither a host name nor an IP address"
    if ".." in parts.path.split("/") or "//" in parts.path:
        return "its path holds .. or //"
    return None


def fault_of_proxy(url: str) -> str | None:
    """What is wrong with the address of a proxy."""
    parts = _split(url)
    if parts is None or parts.scheme != "http" or not parts.hostname or fault_of_host(parts.hostname):
        return "a proxy is written http://proxy.corp:3128"
    if "@" in parts.netloc:
        return "it holds a user name or password; name their variable in proxy_auth_env"
    return "an address ends after host and port" if parts.path.strip("/") or "?" in url or "#" in url else None


def origin_of(url: str) -> tuple[str, str, int]:
    """Scheme, host in lower case, and port of a checked URL."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or (443 if parts.scheme == "https" else 80)


def points_at(url: str, host: str, port: int) -> bool:
    """Whether ``url`` names a server listening on ``host`` and ``port`` of this machine."""
    _, url_host, url_port = origin_of(url)
    is_here = is_loopback(url_host) or url_host in (host.lower().strip("[]"), "0.0.0.0", "::")
    return port != 0 and url_port == port and is_here


def _split(url: str) -> SplitResult | None:
    """urlsplit without its leniency: it drops line breaks and takes any port, back-slash or blank."""
    if (
        not url.isascii()
        or not url.isprintable()
        or " " in url
        or "\\" in url
        or "%" in url.partition("//")[2].split("/")[0]
    ):
        return None
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts

"""The settings as values: what `headgate.toml`, the environment and the demo all become."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Literal

Dialect = Literal["openai", "anthropic"]
UpstreamKind = Literal["openai", "anthropic", "demo", "v2"]
Source = Literal["file", "environment", "demo"]

DIALECTS: tuple[Dialect, ...] = ("openai", "anthropic")
FALLBACK_ON: tuple[int | str, ...] = ("connect", "timeout", 429, 500, 502, 503, 529)


@dataclass(frozen=True, kw_only=True)
class Server:
    """Where the gateway listens, and whom it answers."""

    host: str = "127.0.0.1"
    port: int = 4400
    workers: int = 1
    require_key: bool = False
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    default_upstream: Mapping[str, str] = field(default_factory=dict)
    max_body_mb: float = 64
    max_in_flight: int = 1000
    recall_heads: bool = True
    drain_s: float = 30

    @property
    def max_body_bytes(self) -> int:
        """The largest request body accepted."""
        return int(self.max_body_mb * 1024 * 1024)


@dataclass(frozen=True, kw_only=True)
class Log:
    """What is kept of each request, and for how long."""

    capture: Literal["full", "metadata", "none"] = "full"
    body_days: int = 30
    row_days: int = 400
    max_disk_gb: float = 20
    durability: Literal["page", "interval", "group"] = "page"
    on_disk_full: Literal["serve", "refuse"] = "serve"
    capture_mb: float = 16

    @property
    def capture_bytes(self) -> int:
        """The largest part of one body that is kept."""
        return int(self.capture_mb * 1024 * 1024)


@dataclass(frozen=True, kw_only=True)
class Models:
    """How classic models are run: one process per served version."""

    memory_mb: int = 2048
    timeout_s: float = 30
    spare: int = 4
    max_file_mb: int = 2048


@dataclass(frozen=True, kw_only=True)
class Timeout:
    """How long an upstream may take, phase by phase."""

    connect_s: float = 5
    first_byte_s: float = 600
    between_bytes_s: float = 300


@dataclass(frozen=True, kw_only=True)
class Upstream:
    """Where requests go: a provider account, a model runner, the demo. Knows where its secret is, never the secret."""

    name: str
    kind: UpstreamKind
    base_url: str  # without a trailing slash; "unix:demo" is the demo process of this server
    provider: str | None = None  # None: prices unknown
    auth: Literal["stored", "caller"] = "stored"
    api_key_env: str | None = None
    api_key_file: str | None = None  # absolute
    auth_header: str = "authorization"
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: Timeout = Timeout()
    allow_paths: tuple[str, ...] = ()
    usage: Literal["inject", "observe"] = "inject"
    on_disconnect: Literal["stop", "finish"] = "stop"
    proxy: str | None = None
    proxy_auth_env: str | None = None
    ca_file: str | None = None  # absolute, like the next two
    client_cert_file: str | None = None
    client_key_file: str | None = None

    @property
    def dialects(self) -> tuple[Dialect, ...]:
        """The dialects it speaks."""
        if self.kind == "v2":
            return ()  # of language models
        return DIALECTS if self.kind == "demo" else (self.kind,)

    def speaks(self, dialect: str) -> bool:
        """Whether requests in ``dialect`` may be sent to it."""
        if dialect == "inference" or self.kind == "v2":
            return dialect == "inference" and self.kind == "v2"
        return self.kind == "demo" or self.kind == dialect

    def auth_value(self, secret: str) -> str:
        """The value of ``auth_header`` that carries ``secret``."""
        return f"Bearer {secret}" if self.auth_header == "authorization" else secret


@dataclass(frozen=True, kw_only=True)
class Target:
    """One place a route may send to; ``model`` replaces the requested name when given."""

    upstream: str
    model: str | None = None


@dataclass(frozen=True, kw_only=True)
class Route:
    """How a requested model name, or a glob of names, finds upstreams."""

    model: str
    targets: tuple[Target, ...]
    fallback_on: tuple[int | str, ...] = FALLBACK_ON  # "connect", "timeout" or a status
    max_attempts: int = 3


@dataclass(frozen=True, kw_only=True)
class Price:
    """A price of your own in USD per million tokens, valid from a day on; None: not charged by this line."""

    model: str
    upstream: str | None = None  # None: every upstream
    from_date: date | None = None  # None: always
    input_mtok: Decimal | None = None
    output_mtok: Decimal | None = None
    cached_input_mtok: Decimal | None = None
    cache_write_mtok: Decimal | None = None
    cache_write_1h_mtok: Decimal | None = None


@dataclass(frozen=True, kw_only=True)
class Protect:
    """The server's rule for moving an alias, whatever the pushed files say."""

    kind: Literal["prompt", "kb", "model"]
    name: str = "*"
    alias: str = "production"
    policy: str = "standard"  # one of core/protection.py's SHIPPED_POLICIES, or a file as written
    policy_file: str | None = None  # absolute; None: it ships
    approvers: int = 0
    where: str = field(default="built in", compare=False)  # file and line


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that decides how this server behaves; holds no secret."""

    server: Server = Server()
    log: Log = Log()
    models: Models = Models()
    upstreams: Mapping[str, Upstream] = field(default_factory=dict)  # by name, in the order written
    routes: tuple[Route, ...] = ()
    prices: tuple[Price, ...] = ()
    protect: tuple[Protect, ...] = ()
    source: Source = "environment"  # where the upstreams came from
    file: str | None = None  # headgate.toml as the user named it
    warnings: tuple[str, ...] = ()  # worth a line at start, no reason to refuse

    def default_upstream(self, dialect: str) -> Upstream | None:
        """The upstream for paths and requests without a model."""
        name = self.server.default_upstream.get(dialect)
        return None if name is None else self.upstreams[name]

"""Loading settings: a file, the environment, the demo, and flags over them."""

import re
from datetime import date
from decimal import Decimal
from importlib.resources import files
from pathlib import Path

import pytest

from headgate.core.errors import ConfigurationError
from headgate.core.settings import (
    DEMO_BASE_URL,
    Log,
    Server,
    Settings,
    Target,
    Timeout,
    Upstream,
    child_environment,
    client_environment,
    load,
    secret_of,
    secret_source,
    secret_warnings,
)
from headgate.core.settings_table import all_settings, settings_of

EXAMPLE = """
[server]
host = "127.0.0.1"
port = 4400
workers = 1
require_key = false
hosts = []
origins = []
default_upstream = {openai = "openai", anthropic = "anthropic"}

[log]
capture = "full"
body_days = 30
row_days = 400
max_disk_gb = 20
durability = "page"

[upstreams.openai]
kind = "openai"
provider = "openai"
base_url = "https://api.openai.com/v1"
auth = "stored"
api_key_env = "OPENAI_API_KEY"

[upstreams.local]
kind = "openai"
base_url = "http://127.0.0.1:8000/v1"
auth_header = "api-key"
headers = {x-team = "a"}
timeout = {connect_s = 5, first_byte_s = 600, between_bytes_s = 300}

[[routes]]
model = "fast"
targets = [{upstream = "openai", model = "gpt-5-mini"}, {upstream = "local", model = "llama-3.1-8b"}]
fallback_on = ["connect", "timeout", 429, 500, 502, 503, 529]
max_attempts = 3

[[routes]]
model = "*"
targets = [{upstream = "openai"}]

[[prices]]
upstream = "local"
model = "*"
from = 2026-01-01
input_mtok = 0.10
output_mtok = 0.40

[[protect]]
kind = "prompt"
name = "*"
alias = "production"
policy = "standard"
approvers = 0
"""


def loaded(directory: Path, text: str, environ: dict[str, str] | None = None) -> Settings:
    file = directory / "headgate.toml"
    file.write_text(text, encoding="utf-8")
    return load(file, environ=environ or {})


def test_the_documented_file_is_read_as_it_is_written(tmp_path: Path) -> None:
    settings = loaded(tmp_path, EXAMPLE)
    assert settings.upstreams["openai"] == Upstream(
        name="openai",
        kind="openai",
        provider="openai",
        base_url="https://api.openai.com/v1",
        api_key_env="OPENAI_API_KEY",
    )
    local = settings.upstreams["local"]
    assert (local.provider, local.auth_header, local.headers) == (None, "api-key", {"x-team": "a"})
    assert local.timeout == Timeout(connect_s=5, first_byte_s=600, between_bytes_s=300)
    assert [route.model for route in settings.routes] == ["fast", "*"]
    assert settings.routes[0].targets[1] == Target(upstream="local", model="llama-3.1-8b")
    (price,) = settings.prices
    assert (price.from_date, price.input_mtok, price.output_mtok) == (
        date(2026, 1, 1),
        Decimal("0.10"),
        Decimal("0.40"),
    )
    assert (settings.protect[0].alias, settings.source) == ("production", "file")
    assert settings.server.default_upstream == {"openai": "openai"}
    assert "no [upstreams.anthropic]" in settings.warnings[0]


def test_an_empty_file_gives_the_defaults_of_the_table(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "", {"OPENAI_API_KEY": "x"})
    assert settings.log == Log()
    assert settings.server == Server(default_upstream={"openai": "openai"})
    assert settings.source == "environment"


@pytest.mark.parametrize("name", ["headgate.toml", "demo.toml"])
def test_the_templates_load(tmp_path: Path, name: str) -> None:
    text = files("headgate.cli").joinpath("templates", name).read_text(encoding="utf-8")
    settings = loaded(tmp_path, text, {"ANTHROPIC_API_KEY": "x"})
    assert settings.protect[0].policy == {"headgate.toml": "standard", "demo.toml": "starter"}[name]
    assert settings.upstreams


def test_the_template_loads_with_every_example_in_it_switched_on(tmp_path: Path) -> None:
    text = files("headgate.cli").joinpath("templates", "headgate.toml").read_text(encoding="utf-8")
    live = re.sub(r"^# (?=\[|[a-z_]+ = )", "", text, flags=re.MULTILINE)
    settings = loaded(tmp_path, live)
    assert list(settings.upstreams) == ["openai", "anthropic", "local"]
    assert settings.warnings == ()
    for table in ("server", "log", "upstreams.NAME", "routes[]", "protect[]"):
        assert all(re.search(rf"\b{key} = ", live) for key in settings_of(table)), table


def test_every_setting_has_a_sentence_and_the_values_agree_with_the_classes() -> None:
    for setting in all_settings():
        assert setting.help.endswith("."), setting.path
        assert setting.allowed, setting.path
    for table, value in (("server", Server()), ("log", Log()), ("upstreams.NAME.timeout", Timeout())):
        for key, setting in settings_of(table).items():
            assert getattr(value, key) == setting.default, f"{table}.{key}"


def test_provider_keys_in_the_environment_become_upstreams_and_routes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load(environ={"ANTHROPIC_API_KEY": "a", "OPENAI_API_KEY": "b", "GROQ_API_KEY": " "})
    assert list(settings.upstreams) == ["openai", "anthropic"]
    assert settings.server.default_upstream == {"openai": "openai", "anthropic": "anthropic"}
    assert settings.upstreams["anthropic"].auth_header == "x-api-key"
    by_model = {route.model: route.targets[0].upstream for route in settings.routes}
    assert (by_model["gpt-*"], by_model["claude-*"]) == ("openai", "anthropic")
    assert settings.routes[-1].model == "*"
    assert [target.upstream for target in settings.routes[-1].targets] == ["openai", "anthropic"]


def test_a_provider_that_answers_elsewhere_keeps_its_address_and_loses_its_prices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environ = {
        "OPENAI_API_KEY": "x",
        "OPENAI_BASE_URL": "http://10.0.0.5:9000/v1/",
        "ANTHROPIC_API_KEY": "x",
        "ANTHROPIC_BASE_URL": "https://api.anthropic.com",
    }
    settings = load(environ=environ)
    assert (settings.upstreams["openai"].base_url, settings.upstreams["openai"].provider) == (
        "http://10.0.0.5:9000/v1",
        None,
    )
    assert settings.upstreams["anthropic"].base_url == "https://api.anthropic.com/v1"
    assert settings.upstreams["anthropic"].provider == "anthropic"


@pytest.mark.parametrize("url", ["http://localhost:4400/v1", "http://127.0.0.1:4400/v1", "http://[::1]:4400/v1"])
def test_a_base_url_that_points_at_this_server_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load(environ={"OPENAI_API_KEY": "x", "OPENAI_BASE_URL": url})
    assert settings.upstreams["openai"].base_url == "https://api.openai.com/v1"
    assert "points at this server" in settings.warnings[0]
    elsewhere = load(environ={"OPENAI_API_KEY": "x", "OPENAI_BASE_URL": url}, port=4500)
    assert elsewhere.upstreams["openai"].base_url == url


def test_a_gateway_that_commands_are_pointed_at_is_not_an_upstream_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environ = {
        "OPENAI_API_KEY": "x",
        "OPENAI_BASE_URL": "https://gate.example/v1",
        "HEADGATE_URL": "https://gate.example",
    }
    assert load(environ=environ).upstreams["openai"].base_url == "https://api.openai.com/v1"


def test_without_any_upstream_the_error_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError) as raised:
        load(environ={})
    for words in ("export OPENAI_API_KEY=", "headgate serve --demo", "headgate init"):
        assert words in raised.value.sentence


def test_the_demo_reads_no_provider_key_and_no_file_of_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "headgate.toml").write_text("[server]\nport = 9999\n")
    environ = {"OPENAI_API_KEY": "sk-real", "HEADGATE_CONFIG": "elsewhere.toml"}
    settings = load(demo=True, environ=environ)
    (upstream,) = settings.upstreams.values()
    assert (upstream.kind, upstream.base_url, upstream.provider) == ("demo", DEMO_BASE_URL, "demo")
    assert (settings.server.port, settings.source) == (4400, "demo")
    assert settings.routes[0].targets == (Target(upstream="demo"),)
    assert settings.server.default_upstream == {"openai": "demo", "anthropic": "demo"}
    assert settings.protect[0].alias == "production"
    assert secret_of(upstream, environ) is None
    assert "OPENAI_API_KEY" not in child_environment(settings, with_secrets=True, environ=environ)


def test_the_demo_refuses_a_file_with_a_real_upstream(tmp_path: Path) -> None:
    file = tmp_path / "headgate.toml"
    file.write_text(EXAMPLE)
    with pytest.raises(ConfigurationError, match=r"line 18: --demo calls no provider"):
        load(file, demo=True, environ={})
    file.write_text("[server]\nport = 5000\n")
    settings = load(file, demo=True, environ={"OPENAI_API_KEY": "x"})
    assert (settings.server.port, list(settings.upstreams)) == (5000, ["demo"])


def test_the_file_is_found_by_variable_then_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "headgate.toml").write_text("[server]\nport = 1111\n")
    (tmp_path / "other.toml").write_text("[server]\nport = 2222\n")
    environ = {"OPENAI_API_KEY": "x"}
    assert load(environ=environ).server.port == 1111
    assert load(environ={**environ, "HEADGATE_CONFIG": "other.toml"}).server.port == 2222
    with pytest.raises(ConfigurationError, match="There is no file gone.toml"):
        load(environ={**environ, "HEADGATE_CONFIG": "gone.toml"})


@pytest.mark.parametrize(
    ("host", "is_forced"),
    [
        ("127.0.0.1", False),
        ("localhost", False),
        ("::1", False),
        ("0.0.0.0", True),
        ("::", True),
        ("gate.example", True),
    ],
)
def test_a_key_is_required_beyond_loopback(tmp_path: Path, host: str, is_forced: bool) -> None:
    file = tmp_path / "headgate.toml"
    file.write_text(f'[server]\nhost = "{host}"\nrequire_key = false\n')
    assert load(file, environ={"OPENAI_API_KEY": "x"}).server.require_key is is_forced
    assert load(demo=True, environ={}, host=host).server.require_key is is_forced


def test_flags_win_over_the_file_and_are_checked(tmp_path: Path) -> None:
    file = tmp_path / "headgate.toml"
    file.write_text("[server]\nport = 5000\nworkers = 2\n")
    server = load(file, environ={"OPENAI_API_KEY": "x"}, port=6000).server
    assert (server.port, server.workers) == (6000, 2)
    with pytest.raises(ConfigurationError, match=r"^--port 70000 is not allowed. Allowed: 0 to 65535.$"):
        load(file, environ={}, port=70000)
    with pytest.raises(ConfigurationError, match=r"^--workers 0 is not allowed. Allowed: 1 to 64.$"):
        load(file, environ={}, workers=0)
    with pytest.raises(ConfigurationError, match=r'--host "a b": it is neither'):
        load(file, environ={}, host="a b")


def test_upstreams_without_routes_get_the_routes_of_their_providers(tmp_path: Path) -> None:
    settings = loaded(
        tmp_path,
        """
        [upstreams.mine]
        kind = "anthropic"
        base_url = "https://api.anthropic.com/v1"
        [upstreams.local]
        kind = "openai"
        base_url = "http://localhost:8000/v1"
        """,
    )
    found = [(route.model, [target.upstream for target in route.targets]) for route in settings.routes]
    assert found == [("claude-*", ["mine"]), ("*", ["local", "mine"])]


def test_secrets_are_read_anew_and_never_from_a_caller_upstream(tmp_path: Path) -> None:
    key_file = tmp_path / "a.key"
    key_file.write_text("  one\n")
    key_file.chmod(0o600)
    (tmp_path / "headgate.toml").write_text(
        """
        [upstreams.a]
        kind = "openai"
        base_url = "https://a.example/v1"
        api_key_file = "a.key"
        [upstreams.b]
        kind = "openai"
        base_url = "https://b.example/v1"
        api_key_env = "B_KEY"
        [upstreams.c]
        kind = "anthropic"
        base_url = "https://c.example/v1"
        auth = "caller"
        """
    )
    upstreams = load(tmp_path / "headgate.toml", environ={}).upstreams
    assert secret_of(upstreams["a"], {}) == "one"
    key_file.write_text("two")
    assert secret_of(upstreams["a"], {}) == "two"
    assert secret_of(upstreams["b"], {"B_KEY": " three "}) == "three"
    assert secret_of(upstreams["b"], {}) is None
    assert secret_of(upstreams["c"], {"ANTHROPIC_API_KEY": "x"}) is None
    assert [secret_source(u) for u in upstreams.values()] == [str(key_file), "B_KEY", "the caller's own key"]
    assert upstreams["a"].auth_value("s") == "Bearer s"
    assert upstreams["c"].auth_header == "x-api-key"


def test_doubtful_secrets_are_told_without_showing_them(tmp_path: Path) -> None:
    key_file = tmp_path / "open.key"
    key_file.write_text("very-secret")
    key_file.chmod(0o644)
    by_file = Upstream(name="f", kind="openai", base_url="https://f.example/v1", api_key_file=str(key_file))
    by_env = Upstream(name="e", kind="openai", base_url="https://e.example/v1", api_key_env="E_KEY")
    assert secret_warnings(by_file, {}) == [f"{key_file} is open to others (mode 0644). Run: chmod 600 {key_file}"]
    assert secret_warnings(by_env, {}) == ['E_KEY is not set, so upstream "e" will refuse requests.']
    (broken,) = secret_warnings(by_env, {"E_KEY": "very\nsecret"})
    assert broken.startswith("E_KEY holds no key") and "very" not in broken
    key_file.unlink()
    assert "cannot be read" in secret_warnings(by_file, {})[0]


def test_children_get_the_secrets_they_need_and_no_others() -> None:
    settings = load(demo=True, environ={})
    upstream = Upstream(name="o", kind="openai", base_url="https://o.example/v1", api_key_env="OPENAI_API_KEY")
    settings = Settings(upstreams={**settings.upstreams, "o": upstream})
    environ = {
        "PATH": "/bin",
        "OPENAI_API_KEY": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "HEADGATE_ADMIN_KEY": "c",
        "GH_TOKEN": "d",
    }
    assert child_environment(settings, with_secrets=True, environ=environ) == {"PATH": "/bin", "OPENAI_API_KEY": "a"}
    assert child_environment(settings, with_secrets=False, environ=environ) == {"PATH": "/bin"}


def test_commands_learn_where_to_go_from_the_environment() -> None:
    assert client_environment({}).url == "http://127.0.0.1:4400"
    found = client_environment(
        {"HEADGATE_URL": "https://gate.example/v1/", "HEADGATE_HOME": "h", "HEADGATE_API_KEY": ""}
    )
    assert (found.url, found.home, found.api_key, found.config) == ("https://gate.example", Path("h"), None, None)
    with pytest.raises(ConfigurationError, match="HEADGATE_URL = .* must begin with https:// or http://"):
        client_environment({"HEADGATE_URL": "gate.example"})

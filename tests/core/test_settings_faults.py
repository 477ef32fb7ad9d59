"""What a wrong headgate.toml gets: every text, with its line."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.errors import ConfigurationError
from headgate.core.settings import Settings, load
from headgate.core.settings_table import all_settings

OPENAI = '[upstreams.openai]\nkind = "openai"\nbase_url = "https://api.openai.com/v1"\n'
SECRET_HINT = "Secrets are not kept in this file"


def refused(directory: Path, text: str | bytes, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines of the refusal, with the file named as the user did."""
    monkeypatch.chdir(directory)
    data = text.encode() if isinstance(text, str) else text
    Path("headgate.toml").write_bytes(data)
    with pytest.raises(ConfigurationError) as raised:
        load(Path("headgate.toml"), environ={"OPENAI_API_KEY": "x"})
    return str(raised.value).split("\n")


FAULTS: list[tuple[str, str]] = [
    ("[server]\nprot = 1\n", 'headgate.toml line 2: unknown key "prot" in [server]. Nearest: port.'),
    ("\n[sever]\nport = 1\n", 'headgate.toml line 2: unknown key "sever" at the top of the file. Nearest: server.'),
    ("[server]\ncapture = 'full'\n", 'headgate.toml line 2: unknown key "capture" in [server]. It belongs to [log].'),
    (
        "[[protect]]\nkind = 'kb'\nzzz = 1\n",
        'headgate.toml line 3: unknown key "zzz" in [[protect]] number 1. Known: kind, name, alias, policy, approvers.',
    ),
    (
        "[server]\nport = 70000\n",
        "headgate.toml line 2: server.port = 70000 is not allowed. Allowed: a whole number from 0 to 65535.",
    ),
    (
        "[server]\nport = '4400'\n",
        'headgate.toml line 2: server.port = "4400" is not allowed. Allowed: a whole number from 0 to 65535.',
    ),
    ("[server]\nworkers = true\n", "server.workers = true is not allowed. Allowed: a whole number from 1 to 64."),
    ("[server]\nport = 0x" + "f" * 5000, "line 2: server.port = a huge number is not allowed."),
    ("[server]\nrequire_key = 'yes'\n", 'server.require_key = "yes" is not allowed. Allowed: true | false.'),
    ("[server]\nhost = '127.0.0.1:80'\n", 'line 2: server.host = "127.0.0.1:80": it is neither a host name nor an IP'),
    ("[server]\nhosts = ['a', 'http://b']\n", 'line 2: "http://b" in server.hosts: it is neither a host name nor an'),
    ("[server]\nhosts = 'a'\n", 'server.hosts = "a" is not allowed. Allowed: a list of texts.'),
    ("[server]\norigins = ['*']\n", '"*" in server.origins: an origin is written https://app.example'),
    (
        "[server]\norigins = [\n'https://a',\n'https://a/x']\n",
        'line 4: "https://a/x" in server.origins: an origin ends',
    ),
    ("[server]\nmax_body_mb = nan\n", "server.max_body_mb = NaN is not allowed. Allowed: a number from 0.001 to 4096."),
    ("[server]\ndrain_s = inf\n", "server.drain_s = Infinity is not allowed."),
    ("[server]\ndefault_upstream = {openai = 1}\n", "server.default_upstream.openai = 1 is not allowed."),
    (
        OPENAI + "[server]\ndefault_upstream = {openai = 'opnai'}\n",
        'headgate.toml line 5: there is no upstream "opnai". Nearest: openai.',
    ),
    (
        OPENAI + "[server.default_upstream]\nanthropic = 'openai'\n",
        'headgate.toml line 5: upstream "openai" has kind "openai" and does not speak anthropic.',
    ),
    ("[server]\ndefault_upstream = {gemini = 'x'}\n", 'names the dialect "gemini". Allowed: openai, anthropic.'),
    (
        "[log]\ncapture = 'all'\n",
        'headgate.toml line 2: log.capture = "all" is not allowed. Allowed: "full" | "metadata" | "none".',
    ),
    ("[log]\nbody_days = 40\nrow_days = 30\n", "line 2: log.body_days = 40 is more than log.row_days = 30"),
    ("[log]\nbody_days = 1.5\n", "log.body_days = 1.5 is not allowed. Allowed: a whole number from 0 to 36500."),
    ("log = 3\n", "headgate.toml line 1: log = 3 is not allowed. Allowed: a table."),
    ("upstreams = []\n", "headgate.toml line 1: upstreams = [] is not allowed. Allowed: a table."),
    ("[upstreams]\nx = 1\n", "line 2: upstreams.x = 1 is not a table. Write [upstreams.x]."),
    (
        "[upstreams.'Open AI']\nkind = 'demo'\n",
        'line 1: upstream name "Open AI" is not allowed. Allowed: a-z, 0-9, _ and',
    ),
    ("[upstreams.a]\nbase_url = 'https://a/v1'\n", 'line 1: [upstreams.a] lacks kind. Allowed: "openai" | "anthropic"'),
    ("[upstreams.a]\nkind = 'openai'\n", "line 1: [upstreams.a] lacks base_url. Allowed: a URL such as"),
    (
        "[upstreams.a]\nkind = 'openapi'\nbase_url = 'https://a/v1'\n",
        'line 2: upstreams.a.kind = "openapi" is not allowed.',
    ),
    (OPENAI + "prvider = 'x'\n", 'line 4: unknown key "prvider" in [upstreams.openai]. Nearest: provider.'),
    (
        OPENAI + "provider = 'Open AI'\n",
        'line 4: upstreams.openai.provider = "Open AI" is not allowed. Allowed: a name of',
    ),
    (
        OPENAI + "timeout = {conect_s = 1}\n",
        'line 4: unknown key "conect_s" in [upstreams.openai.timeout]. Nearest: connect_s.',
    ),
    (
        OPENAI + "timeout = {connect_s = 0}\n",
        "line 4: upstreams.openai.timeout.connect_s = 0 is not allowed. Allowed: a number",
    ),
    (OPENAI + "timeout = 5\n", "line 4: upstreams.openai.timeout = 5 is not allowed. Allowed: a table."),
    (
        OPENAI + "[upstreams.openai.timeout]\nconnect_s = 'x'\n",
        'line 5: upstreams.openai.timeout.connect_s = "x" is not',
    ),
    (OPENAI + "headers = {'a b' = 'c'}\n", 'line 4: "a b" is not a header name.'),
    (OPENAI + "headers = {host = 'c'}\n", "line 4: headers.host of [upstreams.openai] is set by Headgate itself"),
    (OPENAI + "headers = {x = 'é'}\n", 'line 4: headers.x = "é" is not allowed. Allowed: printable ASCII.'),
    (OPENAI + 'headers = {x = "a\\r\\nb: c"}\n', 'line 4: upstreams.openai.headers.x = "a\\r\\nb: c" is not allowed.'),
    (OPENAI + "auth_header = 'content-length'\n", 'line 4: auth_header = "content-length" cannot carry a key.'),
    (
        OPENAI + "api_key_env = 'A-B'\n",
        'line 4: api_key_env of [upstreams.openai]: "A-B" is not the name of a variable.',
    ),
    (
        OPENAI + "api_key_env = 'A'\napi_key_file = 'b'\n",
        "line 5: [upstreams.openai] has both api_key_env and api_key_file",
    ),
    (OPENAI + "api_key_env = 'A'\nauth = 'caller'\n", 'line 4: api_key_env is not used with auth = "caller"'),
    (
        "[upstreams.d]\nkind = 'demo'\napi_key_env = 'A'\n",
        'line 3: api_key_env: an upstream of kind "demo" takes no key.',
    ),
    (OPENAI + "allow_paths = ['/v1/a', 'v1/b']\n", 'line 4: "v1/b" in allow_paths must begin with /v1/, or be *.'),
    (OPENAI + "proxy = 'https://p:1'\n", 'line 4: proxy = "https://p:1" is not allowed: a proxy is written http://'),
    (OPENAI + "proxy = 'http://p:1/x'\n", "an address ends after host and port."),
    (OPENAI + "proxy = 'http://a:b@p:1'\n", "it holds a user name or password; name their variable in"),
    (OPENAI + "proxy_auth_env = 'A'\n", "line 4: proxy_auth_env of [upstreams.openai] goes with proxy only."),
    (
        OPENAI + "client_key_file = '/bin/sh'\n",
        "client_key_file of [upstreams.openai] goes with client_cert_file only.",
    ),
    (OPENAI + "ca_file = 'none.pem'\n", "line 4: ca_file of [upstreams.openai]: there is no file"),
    (OPENAI + "[[routes]]\nmodel = 'x'\n", "line 4: [[routes]] number 1 lacks targets."),
    (OPENAI + "[[routes]]\nmodel = 'x'\ntargets = []\n", "line 6: routes[1].targets is empty. Write targets = ["),
    (
        OPENAI + "[[routes]]\ntargets = [{upstream = 'openai'}]\n",
        "line 4: [[routes]] number 1 lacks model. Allowed: text.",
    ),
    (
        OPENAI + "[[routes]]\nmodel = 'x'\ntargets = [{upstream = 'openai'},\n {upstream = 'opanai'}]\n",
        'headgate.toml line 7: there is no upstream "opanai". Nearest: openai.',
    ),
    (
        OPENAI + "[[routes]]\nmodel = 'x'\ntargets = [{upstrm = 'openai'}]\n",
        'line 6: unknown key "upstrm" in [[routes[1].targets]]',
    ),
    (
        OPENAI + "[[routes]]\nmodel = 'x'\ntargets = ['openai']\n",
        'routes[1].targets = ["openai"] is not allowed. Allowed: a list of',
    ),
    (
        OPENAI + "[[routes]]\nmodel = 'x'\nfallback_on = [200]\ntargets = [{upstream = 'openai'}]\n",
        "routes[1].fallback_on = [200] is",
    ),
    (
        OPENAI + "[[routes]]\nmodel = 'x'\nmax_attempts = 0\ntargets = [{upstream = 'openai'}]\n",
        "routes[1].max_attempts = 0 is",
    ),
    ("[[prices]]\nmodel = '*'\n", "line 1: [[prices]] number 1 has no price. Write input_mtok and output_mtok."),
    (
        "[[prices]]\nmodel = '*'\ninput_mtok = -1\n",
        "prices[1].input_mtok = -1 is not allowed. Allowed: a number from 0 to",
    ),
    (
        "[[prices]]\nmodel = '*'\ninput_mtok = 1\nfrom = '2026-01-01'\n",
        'line 4: prices[1].from = "2026-01-01" is not allowed. Allowed: a date',
    ),
    (
        "[[prices]]\nmodel = '*'\ninput_mtok = 1\nfrom = 2026-01-01T00:00:00Z\n",
        "line 4: prices[1].from = 2026-01-01 00:00:00+00:00",
    ),
    (
        "[[prices]]\nmodel = '*'\ninput_mtok = 1\n\n[[prices]]\nupstream = 'zzz'\nmodel = 'a'\noutput_mtok = 1\n",
        'line 6: there is no upstream "zzz"',
    ),
    (
        "[[protect]]\nkind = 'promt'\n",
        'line 2: protect[1].kind = "promt" is not allowed. Allowed: "prompt" | "kb" | "model".',
    ),
    ("[[protect]]\nkind = 'kb'\napprovers = 2\n", "line 3: protect[1].approvers = 2 is not allowed."),
    ("[protect]\nkind = 'kb'\n", "line 1: protect = a table is not allowed. Allowed: a list of tables."),
    (
        "[upstreams.me]\nkind = 'openai'\nbase_url = 'http://localhost:4400/v1'\n",
        'line 3: upstream "me" points at this server itself ("http://localhost:4400/v1").',
    ),
]


@pytest.mark.parametrize(("text", "expected"), FAULTS, ids=range(len(FAULTS)))
def test_a_wrong_value_is_refused_with_its_line_and_what_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: str
) -> None:
    (line,) = refused(tmp_path, text, monkeypatch)
    assert expected in line, line
    assert line.startswith("headgate.toml line "), line


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://api.openai.com", "lacks its path; it stands for the client's /v1: https://api.openai.com/v1."),
        ("ftp://a.example/v1", '"ftp://a.example/v1" is not allowed: it must begin with https:// or http://.'),
        ("api.openai.com/v1", "it must begin with https:// or http://"),
        ("https://user:pass@a.example/v1", "it holds a user name or password"),
        ("https://a.example/v1?key=1", "it holds a query or fragment"),
        ("https://a.example/v1#x", "it holds a query or fragment"),
        ("https:///v1", "its host is neither a host name nor an IP address"),
        ("https://a.example:99999/v1", "it is not a URL such as"),
        ("https://a b.example/v1", "it is not a URL such as"),
        ("https://a.example\\@evil.example/v1", "it is not a URL such as"),
        ("https://exämple.com/v1", "it is not a URL such as"),
        ("https://a%2eexample/v1", "it is not a URL such as"),
        ("https://a.example/v1/../admin", "its path holds .. or //"),
        ("unix:demo", 'base_url = "unix:demo" goes with kind = "demo" only.'),
        ("unix:/run/docker.sock", "it must begin with https:// or http://"),
    ],
)
def test_a_bad_base_url_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, expected: str
) -> None:
    (line,) = refused(tmp_path, f"[upstreams.a]\nkind = 'openai'\nbase_url = '{url}'\n", monkeypatch)
    assert line.startswith("headgate.toml line 3: ") and expected in line, line


CANARY = "sk-proj-C4n4ryC4n4ryC4n4ryC4n4ry"


@pytest.mark.parametrize(
    "text",
    [
        f"api_key = '{CANARY}'",
        f"token = '{CANARY}'",
        f"authorization = 'Bearer {CANARY}'",
        f"api_key_env = '{CANARY}'",
        "api_key_env = 'gsk_C4n4ryC4n4ryC4n4ryC4n4ry'",
        f"api_key_file = '{CANARY}'",
        f"headers = {{authorization = 'Bearer {CANARY}'}}",
        f"headers = {{X-Api-Key = '{CANARY}'}}",
        "headers = {api-key = 'C4n4ry'}",
        f"headers = {{x-team = '{CANARY}'}}",
        f"base_url2 = '{CANARY}'\n'{CANARY}' = 1",
        f"provider = '{CANARY}'",
        f"usage = '{CANARY}'",
        f"allow_paths = ['{CANARY}']",
    ],
)
def test_a_secret_in_the_file_is_refused_and_never_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    lines = refused(tmp_path, OPENAI + text + "\n", monkeypatch)
    assert all(line.startswith("headgate.toml line ") for line in lines)
    assert not any("C4n4ry" in line for line in lines), lines
    if text.startswith(("api_key", "token", "auth", "head")):
        assert SECRET_HINT in lines[0] and "api_key_env" in lines[0]


def test_a_secret_inside_a_base_url_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for url in (f"https://u:{CANARY}@a.example/v1", f"https://a.example/v1?key={CANARY}"):
        (line,) = refused(tmp_path, f"[upstreams.a]\nkind = 'openai'\nbase_url = '{url}'\n", monkeypatch)
        assert "C4n4ry" not in line


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"[server]\nport 1\n", "headgate.toml line 2, column 6: not valid TOML: expected '=' after a key"),
        (b"[server\n", "headgate.toml line 1, column 8: not valid TOML: "),
        (b"a = 'x", "headgate.toml line 1: not valid TOML: "),
        (b"[log]\n[log]\n", "headgate.toml line 2, column 5: not valid TOML: "),
        (b"a = " + b"9" * 5000, "headgate.toml: not valid TOML: "),
        (b"a = " + b"[" * 5000, "headgate.toml: the values are nested too deeply."),
        (b"[log]\na = \xff\n", "headgate.toml line 2: the file is not UTF-8 text (byte 10)."),
        (b"#" * (1 << 20) + b"#", "headgate.toml is larger than 1 MiB; that is no configuration file."),
    ],
)
def test_a_file_that_is_no_toml_is_refused_with_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, expected: str
) -> None:
    (line,) = refused(tmp_path, data, monkeypatch)
    assert line.startswith(expected), line


def test_all_faults_are_told_at_once_in_the_order_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = refused(tmp_path, OPENAI + "usage = 'x'\n[log]\ncapture = 'x'\n[server]\nport = -1\n", monkeypatch)
    assert [line.split(":")[0] for line in lines] == [f"headgate.toml line {number}" for number in (4, 6, 8)]


def test_many_faults_are_counted_instead_of_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = refused(tmp_path, "[server]\n" + "".join(f"zz{n} = 1\n" for n in range(50)), monkeypatch)
    assert len(lines) == 21 and lines[-1] == "… and 30 more."


def test_a_missing_or_unreadable_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load(tmp_path / "none.toml", environ={})
    assert raised.value.sentence == f"There is no file {tmp_path / 'none.toml'}. Write one: headgate init."
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load(tmp_path, environ={})


def test_a_route_that_can_never_be_reached_is_told(tmp_path: Path) -> None:
    file = tmp_path / "headgate.toml"
    file.write_text(
        OPENAI
        + "[[routes]]\nmodel = '*'\ntargets = [{upstream = 'openai'}]\n"
        + "[[routes]]\nmodel = 'fast'\ntargets = [{upstream = 'openai'}]\n"
    )
    (warning,) = load(file, environ={}).warnings
    assert warning == f'{file} line 7: route "fast" is never reached, because "*" at line 4 comes first.'


def test_windows_line_ends_and_a_byte_order_mark_are_fine(tmp_path: Path) -> None:
    file = tmp_path / "headgate.toml"
    file.write_bytes(b"\xef\xbb\xbf[server]\r\nport = 5000\r\n")
    assert load(file, environ={"OPENAI_API_KEY": "x"}).server.port == 5000


VALUES = st.sampled_from(
    ["1", "-1", "0.5", "nan", "-inf", "1e999", "0xffffffffffffffffffffffff", "true", "''", "'a'", "'openai'", "'*'"]
    + ["'https://a.example/v1'", "'http://[::1'", "2026-01-01", "07:30:00", "[]", "[1]", "['a', 1]", "[[]]", "{}"]
    + ["{a = 1}", "{openai = 'a'}", "[{upstream = 'a'}]", "[{}]", "'\u2028'", "{a.b.c = []}", "'prompt'", "'[!-'"]
)
HEADERS = {
    "upstreams.NAME": "[upstreams.a]",
    "upstreams.NAME.timeout": "[upstreams.a.timeout]",
    "routes[]": "[[routes]]",
    "routes[].targets[]": "[[routes.targets]]",
    "prices[]": "[[prices]]",
    "protect[]": "[[protect]]",
    "server": "[server]",
    "log": "[log]",
}


@st.composite
def files(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from(["", OPENAI, "routes = 1\n", "upstreams = {a = 1}\n"]))
    for table in draw(st.lists(st.sampled_from(list(HEADERS)), max_size=5)):
        keys = [s.key for s in all_settings() if s.table == table]
        chosen = draw(st.lists(st.sampled_from(keys), max_size=4, unique=True))
        text += HEADERS[table] + "\n" + "".join(f"{key} = {draw(VALUES)}\n" for key in chosen)
    return text


@settings(deadline=None)
@given(files())
def test_any_file_gives_settings_or_faults_with_their_place(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.toml"
    file.write_text(text, encoding="utf-8")
    try:
        assert isinstance(load(file, environ={"OPENAI_API_KEY": "x"}), Settings)
    except ConfigurationError as error:
        assert all(line.startswith((str(file), "…")) for line in str(error).split("\n"))

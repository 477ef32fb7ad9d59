"""The gateways measured: how each is started, which of its processes relays, and what it is asked."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from driver import HERE, free_port, wait_for_port
from machine import LOAD_CORE, MEASURED_CORE, command_line, pin, prefer, tree

MODEL = "gpt-4o-mini"
TENSORZERO = "tensorzero==2026.6.0"
UPSTREAM_SECRET = "sk-bench-upstream-0123456789"  # of the mock: any will do
_START_S = 60.0
_NGINX = """\
daemon off; master_process off; worker_processes 1; pid {home}/pid; error_log {home}/error.log warn;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {home}/body; proxy_temp_path {home}/proxy; fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi; scgi_temp_path {home}/scgi;
  keepalive_requests 1000000000; client_body_buffer_size 1m;
  upstream mock {{ server 127.0.0.1:{mock}; keepalive 512; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://mock; proxy_http_version 1.1; proxy_buffering off;
      proxy_set_header Connection ""; proxy_set_header Authorization "Bearer {secret}";
    }}
  }}
}}
"""
_TENSORZERO = """\
[gateway]
observability.enabled = false
[models.{model}]
routing = ["mock"]
[models.{model}.providers.mock]
type = "openai"
model_name = "{model}"
api_base = "http://127.0.0.1:{mock}/v1"
api_key_location = "env::OPENAI_API_KEY"
"""
_HEADGATE = """\
[server]
require_key = true
default_upstream = {{openai = "mock"}}
[log]
capture = "{capture}"
durability = "page"
[upstreams.mock]
kind = "openai"
provider = "openai"
base_url = "http://127.0.0.1:{mock}/v1"
api_key_env = "BENCH_UPSTREAM_KEY"
[upstreams.spare]
kind = "openai"
provider = "openai"
base_url = "http://localhost:{mock}/v1"
api_key_env = "BENCH_UPSTREAM_KEY"
[[routes]]
model = "gpt-*"
targets = [{targets}]
fallback_on = [{fallback_on}]
"""


class NotMeasured(Exception):
    """A gateway cannot be measured here; the text says why."""


@dataclass(kw_only=True)
class Gateway:
    """One gateway that runs. ``relay_pid`` does the relaying on the measured core; None: there is nothing between."""

    name: str
    port: int
    path: str = "/v1/chat/completions"
    model: str = MODEL
    headers: tuple[str, ...] = ("authorization: Bearer sk-bench",)
    relay_pid: int | None = None
    root_pid: int | None = None
    home: Path | None = None  # of a Headgate
    sent: int = 0  # requests so far
    process: "subprocess.Popen[bytes] | None" = None
    log: IO[bytes] | None = field(default=None, repr=False)

    @property
    def pids(self) -> list[int]:
        """All its processes."""
        return [] if self.root_pid is None else tree(self.root_pid)

    def stop(self) -> None:
        """End it, wait until it has ended, and remove what it stored."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.log is not None:
            self.log.close()
        if self.home is not None:
            shutil.rmtree(self.home, ignore_errors=True)


def direct(mock_port: int) -> Gateway:
    """No gateway."""
    return Gateway(name="direct", port=mock_port)


def nginx(cache: Path, mock_port: int) -> Gateway:
    """nginx as a relay and nothing else."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        raise NotMeasured("nginx is not installed (Debian: apt install nginx-light)")
    home = _emptied(cache / "nginx")
    port = free_port()
    config = home / "nginx.conf"
    config.write_text(_NGINX.format(home=home, mock=mock_port, port=port, secret=UPSTREAM_SECRET))
    version = subprocess.run([program, "-v"], capture_output=True, text=True, check=True).stderr.rpartition("/")[2]
    gateway = Gateway(name=f"nginx {version.split()[0]}", port=port)
    _start(gateway, [program, "-c", str(config), "-p", str(home)], home, {})
    wait_for_port(port, _START_S)
    return gateway


def tensorzero(cache: Path, mock_port: int, python: Path | None) -> Gateway:
    """TensorZero's Rust gateway, which does not log here."""
    python = python or _tensorzero_python(cache)
    home = _emptied(cache / "tensorzero")
    config, address = home / "tensorzero.toml", home / "address"
    config.write_text(_TENSORZERO.format(model=MODEL, mock=mock_port))
    version = subprocess.run(
        [str(python), "-c", "from importlib.metadata import version; print(version('tensorzero'))"],
        capture_output=True,
        text=True,
    )
    if version.returncode:
        raise NotMeasured(f"tensorzero is not installed for {python}")
    gateway = Gateway(
        name=f"TensorZero {version.stdout.strip()}",
        port=0,
        path="/openai/v1/chat/completions",
        model=f"tensorzero::model_name::{MODEL}",
    )
    environment = {"OPENAI_API_KEY": UPSTREAM_SECRET, "TENSORZERO_DISABLE_PSEUDONYMOUS_USAGE_ANALYTICS": "1"}
    _start(gateway, [str(python), str(HERE / "tensorzero_run.py"), str(config), str(address)], home, environment)
    deadline_s = time.monotonic() + _START_S
    while not (address.exists() and address.read_text()):
        _check_alive(gateway, home, deadline_s)
    gateway.port = int(address.read_text().split(":")[2].split("/")[0])
    wait_for_port(gateway.port, _START_S)
    return gateway


def _tensorzero_python(cache: Path) -> Path:
    """The interpreter of an environment with TensorZero, made on first use."""
    environment = cache / "tensorzero-venv"
    python = environment / "bin" / "python"
    if not (environment / "complete").exists():
        print(f"Installing {TENSORZERO} into {environment} ...", file=sys.stderr)
        try:
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", TENSORZERO], check=True)
        except subprocess.CalledProcessError as error:
            raise NotMeasured(f"{TENSORZERO} could not be installed ({error.cmd[-1]}: {error.returncode})") from error
        (environment / "complete").touch()
    return python


def headgate(cache: Path, mock_port: int, *, capture: str, name: str, is_plain: bool = False) -> Gateway:
    """Headgate, started by its own command line: relay on the measured core, the rest beside it. ``is_plain``: a key
    without limits and a route without fallback.
    """
    home = _emptied(cache / f"headgate-{capture}{'-plain' if is_plain else ''}")
    config, data = home / "headgate.toml", home / "data"
    config.write_text(headgate_config(mock_port, capture=capture, is_plain=is_plain))
    port = free_port()
    gateway = Gateway(name=name, port=port, home=data)
    command = [*_headgate_command(), "serve", "--port", str(port), "--home", str(data), "--config", str(config)]
    _start(gateway, command, home, {"BENCH_UPSTREAM_KEY": UPSTREAM_SECRET}, core=LOAD_CORE)
    deadline_s = time.monotonic() + _START_S
    while not (data / "run" / "server.json").exists():
        _check_alive(gateway, home, deadline_s)
    for pid in gateway.pids:
        prefer(pid)
        if "headgate.gateway.main" in command_line(pid):
            gateway.relay_pid = pid
            pin(pid, MEASURED_CORE)
    limits = [] if is_plain else ["--models", "gpt-*"]
    key = headgate_cli(gateway, "key", "create", "--name", "bench", "--role", "app", *limits).strip()
    gateway.headers = (f"authorization: Bearer {key}",)
    return gateway


def headgate_config(mock_port: int, *, capture: str, is_plain: bool = False) -> str:
    """The configuration that is measured."""
    names = ("mock",) if is_plain else ("mock", "spare")
    targets = ", ".join(f'{{upstream = "{name}"}}' for name in names)
    fallback_on = "" if is_plain else '"connect", "timeout", 429, 500, 502, 503, 529'
    return _HEADGATE.format(capture=capture, mock=mock_port, targets=targets, fallback_on=fallback_on)


def headgate_cli(gateway: Gateway, *arguments: str) -> str:
    """What a command of Headgate prints about this server."""
    command = [*_headgate_command(), *arguments, "--home", str(gateway.home)]
    return subprocess.run(command, env=_environment({}), check=True, capture_output=True, text=True).stdout


def _headgate_command() -> list[str]:
    return [sys.executable, "-m", "headgate"]


def _start(
    gateway: Gateway, command: Sequence[str], home: Path, environment: dict[str, str], *, core: int = MEASURED_CORE
) -> None:
    gateway.log = (home / "stderr.txt").open("wb")
    gateway.process = subprocess.Popen(
        ["taskset", "-c", str(core), *command],
        cwd=home,
        env=_environment(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=gateway.log,
        start_new_session=True,
    )
    gateway.relay_pid = gateway.root_pid = gateway.process.pid
    prefer(gateway.process.pid)


def _check_alive(gateway: Gateway, home: Path, deadline_s: float) -> None:
    assert gateway.process is not None
    if gateway.process.poll() is not None or time.monotonic() > deadline_s:
        gateway.stop()
        said = (home / "stderr.txt").read_text(errors="replace")[-2000:]
        raise NotMeasured(f"{gateway.name} did not start: {said}")
    time.sleep(0.1)


def _environment(more: dict[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADGATE_")}
    return {**kept, **more}


def _emptied(directory: Path) -> Path:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory

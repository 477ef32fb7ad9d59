"""What `headgate serve` prints when it is ready: where to point clients, what it found, what to try next."""

import json
from importlib.util import find_spec
from pathlib import Path

from headgate.core.settings import Settings, secret_source, secret_warnings
from headgate.core.terminal import Terminal


class Banner:
    """The first lines of a server; for people on a terminal, one JSON line elsewhere."""

    def __init__(
        self, terminal: Terminal, settings: Settings, home: Path, url: str, *, demo: bool, as_json: bool
    ) -> None:
        self._terminal = terminal
        self._settings = settings
        self._home = home
        self._url = url
        self._demo = demo
        self._as_json = as_json

    def show(self) -> None:
        """Print it."""
        if self._as_json:
            self._print_json()
            return
        server = self._settings.server
        lines = [
            "",
            f"  Headgate is ready at {self._url}",
            "",
            f"  OpenAI clients     base URL {self._url}/v1",
            f"  Anthropic clients  base URL {self._url}",
            f"  Pages              {self._url}/ui",
            "",
        ]
        for upstream in self._settings.upstreams.values():
            where = "built in" if upstream.kind == "demo" else upstream.base_url
            lines.append(f"  upstream {upstream.name}: {where} ({secret_source(upstream)})")
        lines.append(f"  Headgate key: {'required' if server.require_key else 'not required on loopback'}")
        if (self._home / "admin.key").exists():
            lines.append(f"  admin key: {self._home / 'admin.key'}")
        lines.append(f"  data: {self._home}")
        for warning in self._warnings():
            lines.append(f"  ! {warning}")
        lines += ["", *self._what_next(), ""]
        self._terminal.write("\n".join(lines))

    def _what_next(self) -> list[str]:
        model = "demo-chat" if self._demo else self._example_model()
        header = ' -H "authorization: Bearer hg_…"' if self._settings.server.require_key else ""
        home = f" --home {self._home.name}" if self._demo else ""
        return [
            "  Try, in another terminal:",
            *(self._try_a_model(header) if self._demo else ()),
            f"    curl {self._url}/v1/chat/completions{header} -H 'content-type: application/json' \\",
            f"""      -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "What is a gateway?"}}]}}'""",
            f"    headgate log list{home}",
            *(
                [f"    headgate eval run support-answer{home} --open   a suite on 20 cases, and its report"]
                * self._demo
            ),
            "  Each request is printed below as it is stored. Ctrl-C stops, and loses nothing.",
        ]

    def _try_a_model(self, header: str) -> list[str]:
        """How the demo's classic model is called, or what is missing for it."""
        if find_spec("onnxruntime") is None:
            return ['    (classic models need onnxruntime: pip install "headgate[models]")']
        return [
            f"    curl {self._url}/models/iris/invocations{header} -H 'content-type: application/json' \\",
            "      -d '{\"inputs\": [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]}'",
        ]

    def _example_model(self) -> str:
        for route in self._settings.routes:
            if not any(sign in route.model for sign in "*?["):
                return route.model
        return "gpt-5-mini" if "openai" in self._settings.upstreams else "MODEL"

    def _warnings(self) -> list[str]:
        found = list(self._settings.warnings)
        for upstream in self._settings.upstreams.values():
            found += secret_warnings(upstream)
        return found

    def _print_json(self) -> None:
        self._line(
            {
                "event": "ready",
                "url": self._url,
                "openai_base_url": f"{self._url}/v1",
                "anthropic_base_url": self._url,
                "upstreams": {
                    upstream.name: {"base_url": upstream.base_url, "key": secret_source(upstream)}
                    for upstream in self._settings.upstreams.values()
                },
                "require_key": self._settings.server.require_key,
                "admin_key_file": str(self._home / "admin.key") if (self._home / "admin.key").exists() else None,
                "home": str(self._home),
                "warnings": self._warnings(),
            }
        )

    def stopping(self, drain_s: float) -> None:
        """Say that the server drains."""
        if self._as_json:
            self._line({"event": "stopping", "drain_s": drain_s})
        else:
            self._terminal.write(f"\n  Stopping: running requests get {drain_s:g} s. Again to stop at once.")

    def _line(self, value: dict[str, object]) -> None:
        self._terminal.write(json.dumps(value))

"""Writes docs/reference from the code (`make docs`), or says what is out of date there (`--check`, `make check`)."""

import ast
import importlib
import pkgutil
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import click

import headgate as package
from headgate.cli.main import headgate
from headgate.control.app import ROUTES
from headgate.control.routes import ControlRoute
from headgate.core.errors import HeadgateError
from headgate.core.settings_table import Setting, all_settings
from headgate.store.columns import VIEW_COLUMNS, Column
from headgate.wire.endpoints import place_of

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "reference"
MADE = "<!-- Written by `make docs` from {source}; changes here are lost. -->\n\n"
RELAYED = (
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/responses"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/embeddings"),
    ("POST", "/v1/messages"),
    ("POST", "/v1/messages/count_tokens"),
)
STATUS_SET_LATER = {"method_not_allowed": 405}
COLUMN_VIEWS = ("requests", "attempts", "scores", "eval_runs", "eval_results", "alias_moves")
"""The views that have rows in this version; the others are empty."""


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    return "".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |\n" for row in lines
    )


def code(text: object) -> str:
    return f"`{text}`"


# Configuration.


def configuration() -> str:
    """Every setting, table by table."""
    parts = [
        "# Configuration\n\n",
        MADE.format(source="src/headgate/core/settings.toml"),
        "`headgate serve` reads `headgate.toml` in the current directory, or the file that `--config` or "
        "`HEADGATE_CONFIG` names. Without a file, upstreams come from the provider keys in the environment. "
        "A name that is not listed here is refused, with its line and the nearest name that is. "
        "`headgate init` writes a commented file.\n",
    ]
    tables: dict[str, list[Setting]] = {}
    for setting in all_settings():
        if setting.kind not in ("table", "tables") or setting.required:
            tables.setdefault(setting.table, []).append(setting)
    about = {setting.path: setting.help for setting in all_settings() if setting.kind in ("table", "tables")}
    for name, settings in tables.items():
        heading = f"[{name}]" if not name.endswith("[]") else f"[[{name.removesuffix('[]')}]]"
        text = about.get(name.removesuffix("[]").removesuffix(".NAME"), "")
        parts.append(f"\n## `{heading.replace('[].', '.')}`\n\n{text}\n\n")
        rows = [(code(one.key), one.allowed, default_of(one), one.help) for one in settings]
        parts.append(table(("key", "value", "default", "meaning"), rows))
    return "".join(parts)


def default_of(setting: Setting) -> str:
    """The default as one would write it in the file."""
    if setting.required:
        return "required"
    value = setting.default
    if value is None:
        return "none"
    if isinstance(value, bool):
        return code(str(value).lower())
    if isinstance(value, tuple):
        return code("[" + ", ".join(f'"{one}"' if isinstance(one, str) else str(one) for one in value) + "]")
    return code(f'"{value}"' if isinstance(value, str) else "{}" if value == {} else value)


# Columns.


def columns() -> str:
    """The columns of the views that `headgate sql` speaks."""
    parts = [
        "# Columns\n\n",
        MADE.format(source="src/headgate/store/columns.py"),
        "What `headgate sql`, the API and exports speak. `NULL` means unknown, which is not zero. Content follows "
        "`capture` and `body_days`, as bodies do.\n",
    ]
    for view in COLUMN_VIEWS:
        parts.append(f"\n## `{view}`\n\n")
        rows = [(code(one.name), code(one.sql_type), meaning(one)) for one in VIEW_COLUMNS[view]]
        parts.append(table(("column", "type", "meaning"), rows))
    others = ", ".join(code(name) for name in VIEW_COLUMNS if name not in COLUMN_VIEWS)
    parts.append(f"\nThese views exist and have no rows in this version: {others}.\n")
    return "".join(parts)


def meaning(column: Column) -> str:
    return f"{column.help} (content)" if column.is_content else column.help


# Commands.


def commands() -> str:
    """Every command with its help."""
    parts = [
        "# Commands\n\n",
        MADE.format(source="src/headgate/cli"),
        "Exit codes: 0 done, 1 a fault was found, 2 usage or configuration, 5 upstream or infrastructure, 70 a defect "
        "of Headgate, 130 interrupted.\n\n"
        "Environment: `HEADGATE_URL` (default `http://127.0.0.1:4400`), `HEADGATE_API_KEY`, `HEADGATE_HOME`, "
        "`HEADGATE_CONFIG`; for `serve` also `HEADGATE_ADMIN_KEY` or `HEADGATE_ADMIN_KEY_FILE`.\n",
    ]
    for path, context in walk(
        headgate, click.Context(headgate, info_name="headgate", terminal_width=100, **headgate.context_settings)
    ):
        parts.append(f"\n## {path}\n\n```text\n{context.command.get_help(context).rstrip()}\n```\n")
    return "".join(parts)


def walk(command: click.Command, context: click.Context) -> Iterator[tuple[str, click.Context]]:
    yield context.command_path, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            child = click.Context(inner, info_name=name, parent=context)
            yield from walk(inner, child)


# HTTP.


def http() -> str:
    """Relayed endpoints, control API and pages."""
    parts = [
        "# HTTP\n\n",
        MADE.format(source="src/headgate/wire/endpoints.py and the route table in src/headgate/control"),
        "## Relayed to upstreams\n\n"
        "OpenAI clients use the base URL `http://HOST:4400/v1`, Anthropic clients `http://HOST:4400` (their SDK adds "
        "`/v1`). A path that both vendors have belongs to Anthropic when the request carries `anthropic-version` or "
        "the path begins with `/v1/messages`; `/openai/v1/…` and `/anthropic/v1/…` are unambiguous. Answers to these "
        "are read for model, tokens and finish reason:\n\n",
        table(("method", "path", "column `endpoint`", "answer is read"), relayed()),
        "\n`GET /v1/models` lists what the key can call. Every other path below `/v1` is passed through as it is, and "
        "logged as `other` with status, latency and bytes. WebSockets below `/v1` are relayed too; each response on "
        "`/v1/realtime` is logged as `openai.realtime`, on `/v1/responses` as `openai.responses`.\n",
        "\n## Health\n\n",
        table(
            ("method", "path", "answer"),
            [
                ("GET", "`/healthz`", "200 while the worker lives"),
                ("GET", "`/readyz`", "200 when this worker can relay, else 503; `store`: ok, behind or down"),
            ],
        ),
        "\n## Control API\n\n"
        "A key goes in `x-headgate-key` or `Authorization: Bearer hg_…`; on loopback without `require_key` none is "
        "needed. The full description, with schemas, is served at `/api/openapi.json`.\n",
    ]
    parts += [operation(route) for route in ROUTES if not route.is_page]
    pages = [(route.method, code(route.path), route.role, route.summary) for route in ROUTES if route.is_page]
    parts += ["\n## Pages\n\n", table(("method", "path", "role", "what"), pages)]
    return "".join(parts)


def relayed() -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for method, path in RELAYED:
        place = place_of(method.encode(), path.encode(), speaks_anthropic=False)
        assert place is not None
        read = "yes" if place.endpoint.is_observed else "no"
        rows.append((method, code(path), code(place.endpoint.name), read))
    return rows


def operation(route: ControlRoute) -> str:
    text = f"\n### {route.method} {route.path}\n\n{route.summary}. Role: {route.role}.\n"
    if route.parameters:
        rows = [(code(one.name), one.where, one.kind, one.help) for one in route.parameters]
        text += "\n" + table(("parameter", "in", "type", "meaning"), rows)
    if route.body is not None:
        properties: Mapping[str, object] = route.body.get("properties", {})
        text += f"\nJSON body: {', '.join(code(name) for name in properties) or 'an object'}.\n"
    return text


# Error codes.


@dataclass(kw_only=True)
class Fault:
    """One code as the source raises it."""

    statuses: set[int] = field(default_factory=set)
    said: dict[str, None] = field(default_factory=dict)  # texts, in the order found


def errors() -> str:
    """Every error code with its status and what is said with it, collected from where it is raised."""
    faults: dict[str, Fault] = {}
    for path in sorted((ROOT / "src" / "headgate").rglob("*.py")):
        for raised in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(raised, ast.Call) and isinstance(raised.func, ast.Name):
                note(faults, raised, raised.func.id)
    rows: list[tuple[str, ...]] = []
    for name in sorted(faults):
        fault = faults[name]
        status = ", ".join(str(one) for one in sorted(fault.statuses))
        rows.append((code(name), status, "<br>".join(fault.said) or "(the text is made where it happens)"))
    return "".join(
        [
            "# Error codes\n\n",
            MADE.format(source="the places in src/headgate that raise them"),
            "Errors of Headgate's own speak the caller's dialect and say `headgate`: OpenAI clients get "
            '`{"error": {"message", "type", "param", "code"}}`, Anthropic clients '
            '`{"type": "error", "error": {"type", "message"}}`, the control API '
            '`{"error": {"message", "code", "hint"}}`. Errors of a provider are passed on as they came. '
            "`…` stands for a value; the status is that of an answer over HTTP.\n\n",
            table(("code", "status", "says"), rows),
        ]
    )


@cache
def error_classes() -> dict[str, type[HeadgateError]]:
    """Every class of the tree by its name; all modules are imported, so that none is missing."""
    for module in pkgutil.walk_packages(package.__path__, "headgate."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found = {HeadgateError.__name__: HeadgateError}
    waiting: list[type[HeadgateError]] = [HeadgateError]
    while waiting:
        for child in waiting.pop().__subclasses__():
            if child.__module__.startswith("headgate."):
                found[child.__name__] = child
                waiting.append(child)
    return found


def note(faults: dict[str, Fault], raised: ast.Call, name: str) -> None:
    kind = error_classes().get(name)
    if kind is None:
        return
    given = {one.arg: text_of(one.value) for one in raised.keywords if one.arg}
    stated = given.get("code", kind.code)
    if stated is None or "…" in stated:
        return
    fault = faults.setdefault(stated, Fault())
    fault.statuses.add(STATUS_SET_LATER.get(stated, kind.status))
    message = text_of(raised.args[0]) if raised.args else None
    if message and message.strip("… "):
        hint = given.get("hint", kind.hint) or ""
        fault.said.setdefault(escaped(f"{message} {hint}".strip()))


def text_of(node: ast.expr) -> str | None:
    """A text as written, with … for what is put in; None when it is made elsewhere."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) or "…" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return f"{text_of(node.left) or '…'}{text_of(node.right) or '…'}"
    return None


def escaped(text: str) -> str:
    """Plain text inside a Markdown table."""
    return re.sub(r"([*_<>\[\]`])", r"\\\1", re.sub("…+", "…", text))


PAGES = {
    "configuration.md": configuration,
    "columns.md": columns,
    "commands.md": commands,
    "http.md": http,
    "errors.md": errors,
}


def main(arguments: list[str]) -> int:
    """Write the pages, or with ``--check`` return 1 when they are not what would be written."""
    REFERENCE.mkdir(parents=True, exist_ok=True)
    stale = []
    for name, make in PAGES.items():
        path, text = REFERENCE / name, make()
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(str(path.relative_to(ROOT)))
        if "--check" not in arguments:
            path.write_text(text, encoding="utf-8")
    stale += [str(path.relative_to(ROOT)) for path in REFERENCE.iterdir() if path.name not in PAGES]
    if "--check" in arguments:
        print(f"Out of date: {', '.join(stale)}. Run: make docs" if stale else "docs/reference is up to date.")
        return 1 if stale else 0
    print(f"Written: {', '.join(stale) or 'nothing new'}.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

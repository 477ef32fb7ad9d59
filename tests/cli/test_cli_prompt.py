"""`headgate prompt`: listings, texts, differences, renders and moves against a running control application."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from headgate.cli.main import main
from headgate.client import Client, GatewayRefused
from headgate.core.home import Home
from headgate.core.settings import load
from support.served_home import served_home

HOSTILE = "\x1b[31mred\u202e"


def prompt_file(text: str, name: str = "greet") -> tuple[str, str]:
    """A prompt with an input of each kind that --var must read."""
    inputs = "{who: {type: string}, times: {type: integer, default: 1}, tags: {type: array, default: []}}"
    content = "{{ who }} {{ times }} {{ tags | join(',') }}"
    message = json.dumps(text)
    return f"{name}.yaml", (
        f"name: {name}\nmodel: gpt-5-mini\nparameters: {{max_output_tokens: 50}}\ninput: {inputs}\nmessages:\n"
        f'  - {{role: system, content: {message}}}\n  - {{role: user, content: "{content}"}}\n'
    )


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client of the server that the commands of a test talk to; greet has two versions."""
    with served_home(tmp_path / "home") as (_, url), Client(url) as made:
        monkeypatch.setenv("HEADGATE_URL", url)
        made.push_prompts([prompt_file("Be brief.")])
        made.push_prompts([prompt_file(f"Be warm. {HOSTILE}")], message="warmer", author="Ada", git_commit="abc")
        yield made


def out(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    """What a command prints: on stdout when it succeeds, else on stderr."""
    capsys.readouterr()
    assert main(["prompt", *arguments]) == code
    printed = capsys.readouterr()
    assert "\x1b" not in printed.out + printed.err and "\u202e" not in printed.out + printed.err
    return printed.err if code else printed.out


def test_the_list_has_every_prompt_and_what_is_in_production(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = out(capsys, "list").splitlines()
    header = lines[0].split("\t")
    rows = {row[0]: dict(zip(header, row, strict=True)) for row in (line.split("\t") for line in lines[1:])}
    assert (rows["greet"]["production"], rows["greet"]["latest"]) == ("", "2")
    assert rows["judge-rubric"]["production"] == "1"
    assert {found["name"] for found in json.loads(out(capsys, "list", "--json"))["prompts"]} == set(rows)


def test_show_has_versions_and_text(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    printed = out(capsys, "show", "greet")
    assert "warmer" in printed and "Be warm." in printed and "Be brief." not in printed
    one = out(capsys, "show", "greet@1")
    assert "greet@1" in one and "Be brief." in one and "warmer" not in one
    both = json.loads(out(capsys, "show", "greet@latest", "--json"))
    assert both["prompt"]["latest"] == both["version"]["number"] == 2
    assert "no version 9" in out(capsys, "show", "greet@9", code=2)
    assert "no prompt" in out(capsys, "show", "gret", code=2)
    assert "is not a prompt's name" in out(capsys, "show", "../x", code=2)


def test_a_difference_is_shown_per_field_and_message(
    client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = out(capsys, "diff", "greet@1", "@latest")
    assert "message 1 (system) changed\n- Be brief.\n+ Be warm." in printed
    assert out(capsys, "diff", "greet@2", "greet@latest") == "greet@2 and greet@2 have the same content.\n"
    (tmp_path / "mine.yaml").write_text(prompt_file("Be brief.")[1].replace("50", "70"))
    found = json.loads(out(capsys, "diff", "greet@1", "mine.yaml", "--json"))
    assert [change["field"] for change in found["changes"]] == ["parameters.max_output_tokens"]
    (tmp_path / "broken.yaml").write_text("name: [")
    assert "broken.yaml:1:" in out(capsys, "diff", "mine.yaml", "broken.yaml", code=2)
    assert "has no production" in out(capsys, "diff", "greet", "greet@1", code=2)
    assert "names no prompt" in out(capsys, "diff", "mine.yaml", "@1", code=2)


@pytest.mark.parametrize(
    ("endpoint", "limit"),
    [
        ("openai.chat", "max_completion_tokens"),
        ("openai.responses", "max_output_tokens"),
        ("anthropic.messages", "max_tokens"),
    ],
)
def test_a_render_is_the_body_that_would_be_sent(
    client: Client, endpoint: str, limit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    variables = ["--var", "who=7", "--var", "times=3", "--var", 'tags=["a","b"]']
    body = json.loads(out(capsys, "render", "greet@1", *variables, "--endpoint", endpoint))
    turns = body["input"] if endpoint == "openai.responses" else body["messages"]
    assert turns[-1]["content"] == "7 3 a,b" and body[limit] == 50 and "Be brief." in json.dumps(body)
    assert main(["prompt", "render", "greet@1", *variables]) == 0
    assert "at most 50 out; price $" in capsys.readouterr().err


def test_variables_come_from_a_file_and_options_win(
    client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "vars.json").write_text('{"who": "file", "times": 2}')
    answer = json.loads(out(capsys, "render", "greet@1", "--vars-file", "vars.json", "--var", "who=me", "--json"))
    assert answer["messages"][-1]["content"] == "me 2 "
    assert answer["tokens"]["input"] > 0 and answer["price"]["most_usd"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["greet@1"], '"who" is missing'),
        (["greet@1", "--var", "who=a", "--var", "times=often", "--var", "x=1"], '"times" must be an integer'),
        (["greet@1", "--var", "who"], "NAME=VALUE"),
        (["greet@1", "--vars-file", "none.json"], "none.json cannot be read"),
        (["greet@1", "--vars-file", "list.json"], "no JSON object"),
        (["greet@1", "--vars-file", "bad.json"], "is not JSON"),
        (["greet@1", "--endpoint", "openai.completions"], "openai.chat"),
        (["greet", "--var", "who=a"], "has no production"),
    ],
)
def test_what_cannot_be_rendered_says_why(
    client: Client, tmp_path: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "bad.json").write_text("{")
    assert said in out(capsys, "render", *arguments, code=2)


def test_a_protected_move_is_refused_with_1_and_goes_by_override(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = out(capsys, "promote", "greet@2", code=1)
    assert refused.startswith("Refused: greet@2 may not become production.") and "headgate eval init greet" in refused
    assert "needs a reason" in out(capsys, "promote", "greet@2", "--override", code=2)
    assert "aliases" in client.prompt("greet") and not client.prompt("greet")["aliases"]
    moved = out(capsys, "promote", "greet@latest", "--override", "--reason", "by hand")
    assert moved == "greet@production is now version 2. Policy standard was overridden; the history has the reason.\n"
    assert "nothing changed" in out(capsys, "promote", "greet@2")
    out(capsys, "promote", "greet@1", "--override", "--reason", "by hand")
    back = json.loads(out(capsys, "rollback", "greet", "--reason", "worse", "--json"))
    assert (back["move"]["from"], back["move"]["to"], back["aliases"]) == (1, 2, {"production": 2})
    assert "no earlier version" in out(capsys, "rollback", "greet", code=2)


def test_other_aliases_move_freely_and_can_be_removed(client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    assert out(capsys, "alias", "greet@1", "candidate") == "greet@candidate is now version 1.\n"
    assert out(capsys, "promote", "greet@latest", "--to", "candidate") == "greet@candidate is now version 2 (was 1).\n"
    assert out(capsys, "rollback", "greet", "--alias", "candidate") == "greet@candidate is now version 1 (was 2).\n"
    assert out(capsys, "alias", "greet", "candidate", "--remove") == "greet@candidate is removed (was 1).\n"
    assert "no alias" in out(capsys, "alias", "greet", "candidate", "--remove", code=2)
    for wrong in (["alias", "greet", "x"], ["promote", "greet"], ["alias", "greet@1", "x", "--remove"]):
        assert "greet" in out(capsys, *wrong, code=2)
    assert "cannot be moved" in out(capsys, "alias", "greet@1", "latest", code=2)
    assert "takes the prompt's name" in out(capsys, "rollback", "greet@2", code=2)


def test_an_archived_version_is_out_of_service_until_it_comes_back(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    assert out(capsys, "archive", "greet@2", "--reason", "old price") == "greet@2 is archived.\n"
    assert client.prompt("greet")["latest"] == 1
    assert "is archived" in out(capsys, "alias", "greet@2", "candidate", code=2)
    out(capsys, "archive", "greet@2", "--undo")
    assert client.prompt("greet")["latest"] == 2
    assert "Name one version" in out(capsys, "archive", "greet", code=2)


def test_the_history_says_who_when_why_and_what_was_in_force(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    client.move_alias("greet", "candidate", 1)
    entry = client.history("prompt:greet")["entries"][0]
    client.move_alias("greet", "candidate", 2, reason="because")
    capsys.readouterr()
    assert main(["history", "prompt:greet", "--as-of", entry["at"]]) == 0
    printed = capsys.readouterr()
    assert printed.err == "in force: prompt:greet@candidate = 1\n" and "because" not in printed.out
    assert main(["history", "prompt:greet"]) == 0
    assert "because" in capsys.readouterr().out
    assert (
        json.loads(out(capsys, "show", "greet@candidate", "--as-of", entry["at"], "--json"))["version"]["number"] == 1
    )


def test_a_developer_may_not_override(tmp_path: Path) -> None:
    settings = load(None, demo=True, environ={})
    with served_home(tmp_path / "home", replace(settings, server=replace(settings.server, require_key=True))) as (
        _,
        url,
    ):
        admin = (tmp_path / "home" / "admin.key").read_text().strip()
        with Client(url, api_key=admin) as client:
            secret = client.create_key({"name": "dev", "role": "developer"})["plaintext"]
        with Client(url, api_key=secret) as client:
            client.push_prompts([prompt_file("x")])
            with pytest.raises(GatewayRefused, match="role developer may not override") as caught:
                client.move_alias("greet", "production", 1, reason="me", override=True)
            assert caught.value.code == "move_refused"


def test_a_stopped_home_answers_and_takes_changes_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "home"
    with served_home(home):
        pass
    assert Home(home).server() is None
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "greet.yaml").write_text(prompt_file("x")[1])
    assert "summarise" in out(capsys, "list", "--home", str(home))
    # A server leaves its settings there; without them nothing is routed.
    assert "no route for model" in out(capsys, "push", "--home", str(home), code=2)
    (home / "run" / "settings.msgpack").write_bytes(msgspec.msgpack.encode(load(None, demo=True, environ={})))
    assert out(capsys, "push", "--home", str(home)) == "greet@1  new\n"
    assert "Refused" in out(capsys, "promote", "greet@1", "--home", str(home), code=1)
    with served_home(home) as (_, url), Client(url) as client:
        assert client.prompt("greet")["latest"] == 1

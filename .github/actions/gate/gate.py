"""Judges the prompts that a pull request changes: pushes them, runs their suites, writes verdict and comment.

Standard library only; it speaks to Headgate through the command `headgate`. What it reads of the event is data: refs
are checked to be hashes, names come from Headgate's own answers, and nothing goes through a shell. Exit codes
are those of `headgate eval gate`: 0 pass, 1 fail, 3 inconclusive, others as they come.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = "prompts"
MARKER = "<!-- headgate gate of this pull request -->"
PASS, FAIL, USAGE, INCONCLUSIVE = 0, 1, 2, 3
WORDS = {PASS: "pass", FAIL: "fail", INCONCLUSIVE: "inconclusive"}
START_S = 60
MOST_CHARS = 60_000
_HASH = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


class Stopped(Exception):
    """There can be no verdict; the text says why."""

    def __init__(self, why: str, code: int = USAGE) -> None:
        super().__init__(why)
        self.code = code


@dataclass(kw_only=True)
class Outcome:
    """What was found so far: the exit codes of the gates, and the parts of the comment."""

    codes: list[int] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)

    @property
    def code(self) -> int:
        """A fail decides; then what went wrong; then what stayed open. Nothing judged is no evidence."""
        if FAIL in self.codes:
            return FAIL
        wrong = [code for code in self.codes if code not in (PASS, INCONCLUSIVE)]
        if wrong:
            return wrong[0]
        return PASS if self.codes and INCONCLUSIVE not in self.codes else INCONCLUSIVE


def main() -> int:
    """Judge; the exit code."""
    event = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_text(encoding="utf-8"))
    outcome, word = Outcome(), ""
    try:
        base = checked_event(event)
        changed = changed_files(base)
        if not changed:
            code, word = PASS, "skipped"
            outcome.parts.append(f"No file in `{FOLDER}/` changed: nothing to judge.")
        else:
            with gateway(base) as environ:
                judge(outcome, changed, int(event["pull_request"]["number"]), environ)
            code = outcome.code
    except Stopped as stopped:
        code = stopped.code
        outcome.parts.append(f"No verdict: {stopped}")
    word = word or WORDS.get(code, "error")
    if code == INCONCLUSIVE and os.environ.get("GATE_INCONCLUSIVE") == "allow":
        outcome.parts.append(
            "_Inconclusive is allowed here: there is no evidence against the change, and none for it._"
        )
        code = PASS
    publish(word, outcome.parts)
    return code


def checked_event(event: Mapping[str, Any]) -> str:
    """The base commit; Stopped for an event that must not, or cannot, be judged."""
    name = os.environ.get("GITHUB_EVENT_NAME", "")
    if name != "pull_request":
        # pull_request_target would run the suites and own scorers of a stranger beside the secrets of this repository.
        raise Stopped(f"this action runs on `pull_request` only, not on `{name[:40]}`.")
    pull = event["pull_request"]
    head = (pull["head"].get("repo") or {}).get("full_name")
    is_fork = head != pull["base"]["repo"]["full_name"]
    if is_fork and (os.environ.get("HEADGATE_URL") or not os.environ.get("GATE_CONFIG")):
        raise Stopped(
            "a pull request from a fork gets no secrets, so there is no model to ask. A maintainer who has read it can "
            "push it to a branch of this repository.",
            INCONCLUSIVE,
        )
    base = str(pull["base"]["sha"])
    if not _HASH.fullmatch(base):
        raise Stopped("the event names no base commit.")
    return base


def changed_files(base: str) -> list[str]:
    """The prompt files that differ from the base and are there."""
    wanted = ["diff", "--name-only", "-z", "--diff-filter=ACMRT", f"{base}...HEAD", "--", FOLDER]
    done = subprocess.run(["git", *wanted], capture_output=True, check=False)
    if done.returncode:
        raise Stopped("the base commit is not here. Check out with `fetch-depth: 0`.")
    names = [name for name in done.stdout.decode("utf-8", "surrogateescape").split("\0") if name]
    return [name for name in names if name.endswith((".yaml", ".yml")) and Path(name).is_file()]


@contextmanager
def gateway(base: str) -> Iterator[dict[str, str]]:
    """The environment in which `headgate` finds the gateway: the one at a URL, or one started for this job."""
    environ = {name: value for name, value in os.environ.items() if value or not name.endswith(("_URL", "_KEY"))}
    if environ.get("HEADGATE_URL"):
        yield environ
        return
    with tempfile.TemporaryDirectory(prefix="headgate-", dir=os.environ.get("RUNNER_TEMP")) as folder:
        command = ["headgate", "serve", "--home", f"{folder}/home", "--port", "0"]
        if config := environ.get("GATE_CONFIG"):
            command += ["--config", config]
        with (Path(folder) / "serve.log").open("wb") as log:
            server = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=environ
            )
        try:
            environ["HEADGATE_URL"] = ready_url(server, Path(folder) / "serve.log")
            make_production(base, Path(folder) / "base", environ)
            yield environ
        finally:
            server.terminate()
            server.communicate()


def ready_url(server: "subprocess.Popen[bytes]", log: Path) -> str:
    """Where the started gateway answers; it says so in its first line."""
    assert server.stdout is not None
    for line in server.stdout:
        event = json.loads(line) if line.startswith(b"{") else {}
        if event.get("event") == "ready":
            return str(event["url"])
    raise Stopped("the gateway did not start: " + log.read_text(encoding="utf-8", errors="replace").strip()[-500:])


def make_production(base: str, folder: Path, environ: Mapping[str, str]) -> None:
    """Gives a new gateway what stands in the base branch, as production: that is what the change is compared with."""
    archive = subprocess.run(["git", "archive", base, FOLDER], capture_output=True, check=False)
    if archive.returncode:
        return  # the base has no prompts: a first version is judged by the absolute rules
    folder.mkdir()
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    for one in pushed([str(folder / FOLDER)], "the base of the pull request", environ):
        promote = ["prompt", "promote", str(one["ref"]), "--override", "--reason", "stands in the base branch"]
        ask(promote, environ)


def judge(outcome: Outcome, changed: list[str], number: int, environ: Mapping[str, str]) -> None:
    """Pushes the changed prompts as candidates and gates each by every suite that judges it."""
    suites = ask(["eval", "validate", "--json"], environ)["suites"] if has_suites() else []
    for one in pushed(changed, f"pull request {number}", environ):
        name, ref = str(one["name"]), str(one["ref"])
        standing = ask(["prompt", "show", name, "--json"], environ)["prompt"]["aliases"].get("production")
        if standing == one["number"]:
            outcome.parts.append(f"`{ref}` is production already: nothing to judge.")
            outcome.codes.append(PASS)
            continue
        ask(["prompt", "alias", ref, f"pr-{number}"], environ)
        own = [str(suite["file"]) for suite in suites if suite["target"] == name]
        if not own:
            outcome.parts.append(f"`{ref}` is **not judged**: no suite in `evals/` has it as its target.")
        for suite in own:
            gate(outcome, suite, ref, environ)


def has_suites() -> bool:
    """Whether there is any suite file."""
    return any(path.suffix in (".yaml", ".yml") for path in Path("evals").glob("*"))


def gate(outcome: Outcome, suite: str, ref: str, environ: Mapping[str, str]) -> None:
    """One verdict, with its part of the comment."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("RUNNER_TEMP")) as folder:
        written = Path(folder) / "gate.md"
        command = ["headgate", "eval", "gate", suite, "--prompt", ref, "--markdown", str(written)]
        for option in ("policy", "budget"):
            if value := environ.get(f"GATE_{option.upper()}"):
                command += [f"--{option}", value]
        done = subprocess.run(command, capture_output=True, text=True, env=dict(environ), check=False)
        print(done.stdout + done.stderr, flush=True)
        outcome.codes.append(done.returncode)
        if written.is_file():
            outcome.parts.append(written.read_text(encoding="utf-8"))
        else:
            said = fenced("\n".join(done.stderr.splitlines()[-8:]))
            outcome.parts.append(f"### No verdict on `{ref}`\n\n{said}")


def pushed(files: list[str], message: str, environ: Mapping[str, str]) -> list[dict[str, Any]]:
    """Stores prompt files; their versions."""
    found: list[dict[str, Any]] = ask(["prompt", "push", *files, "--message", message, "--json"], environ)["pushed"]
    return found


def ask(arguments: list[str], environ: Mapping[str, str]) -> Any:
    """One command that must succeed; its JSON answer, if it printed one."""
    done = subprocess.run(["headgate", *arguments], capture_output=True, text=True, env=dict(environ), check=False)
    if done.returncode:
        code = done.returncode if done.returncode not in (PASS, INCONCLUSIVE) else USAGE
        words = (done.stderr or done.stdout).strip()[-1500:]
        raise Stopped(f"`headgate {' '.join(arguments[:2])}` says\n\n{fenced(words)}", code)
    return json.loads(done.stdout) if "--json" in arguments else None


def fenced(text: str) -> str:
    """Text of others as a Markdown block that it cannot leave."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def publish(word: str, parts: list[str]) -> None:
    """Hands the verdict to later steps, and the comment to the job's summary and to the step that posts it."""
    text = f"{MARKER}\n"
    for part in parts:
        if len(text) + len(part) > MOST_CHARS:
            text += "\n_The rest would not fit into a comment; the job's log has it._\n"
            break
        text += f"{part.rstrip()}\n\n"
    Path(os.environ["RUNNER_TEMP"], "headgate-comment.md").write_text(text, encoding="utf-8")
    for name, line in (("GITHUB_OUTPUT", f"verdict={word}\n"), ("GITHUB_STEP_SUMMARY", text)):
        with open(os.environ[name], "a", encoding="utf-8") as file:
            file.write(line)


if __name__ == "__main__":
    sys.exit(main())

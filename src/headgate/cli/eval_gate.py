"""``headgate eval gate``: runs what is missing on both sides and prints the verdict that the gateway reached."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.connect import connect, home_option
from headgate.cli.eval_files import FoundSuite, find_suite, is_suite, push
from headgate.cli.eval_sides import carry_out, exit_code, limit_options, limits_of, say_ending, start
from headgate.cli.output import emit_json, note
from headgate.cli.prompt_files import read_text
from headgate.cli.text import count, printable

if TYPE_CHECKING:
    from headgate.client import Client

EXIT_FAIL = 1
EXIT_INCONCLUSIVE = 3
PRODUCTION = "production"
_COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow"}
_SHIPPED = ("starter", "standard", "strict")


@click.command("gate")
@click.argument("suite")
@click.option(
    "--prompt", metavar="NAME@REF", help="The candidate.  [default: the newest version of the suite's target]"
)
@click.option("--against", default=PRODUCTION, show_default=True, metavar="REF", help="What it is compared with.")
@click.option(
    "--policy", metavar="NAME|FILE", help="starter, standard, strict or a file.  [default: the server's rule]"
)
@click.option("--fail-exit", type=click.IntRange(1, 255), default=EXIT_FAIL, show_default=True, help="Code of a fail.")
@limit_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON: verdict, receipt, decision.")
@home_option
def gate(
    suite: str,
    prompt: str | None,
    against: str,
    policy: str | None,
    fail_exit: int,
    budget: str | None,
    concurrency: int | None,
    as_json: bool,
    home: Path | None,
) -> int:
    """Judge a version by a policy on SUITE: a name in evals/, a file, a sample, or the id of a stored or imported run.

    Runs what is missing on both sides; the gateway computes the verdict from its own log. A pass under the server's
    rule leaves a receipt, which headgate prompt promote needs. With an imported run, --prompt and --against name
    systems in it, and no receipt is made. While the alias means nothing yet, only the absolute rules decide.

    Exit codes: 0 pass, 1 fail, 3 inconclusive (more cases are needed), 4 budget, 5 upstream, 130 interrupted.

    \b
    Examples:
      headgate eval gate support-answer --prompt support-answer@8 --against production
      headgate eval gate support-answer --policy evals/policies/own.yaml --json
      headgate eval gate 019ab6c2-7f31-7000-8000-000000000000 --prompt new --against old --policy standard
    """
    rules = policy_text(policy)
    with connect(home) as client:
        if is_suite(suite):
            found = find_suite(suite)
            ended = _both_sides(client, found, prompt, against, (budget, concurrency), as_json)
            if isinstance(ended, int):
                return ended
            candidate, baseline = ended
            alias = against if "@" not in against and not against.isdigit() else PRODUCTION
            answer = client.gate(candidate, baseline, policy=rules, alias=alias)
        else:
            answer = _of_stored(client, suite, prompt, against, rules)
    if as_json:
        emit_json(answer)
    else:
        print_verdict(answer)
    verdict = str((answer.get("verdict") or {}).get("verdict"))
    return {"pass": 0, "fail": fail_exit}.get(verdict, EXIT_INCONCLUSIVE)


def policy_text(given: str | None) -> str | None:
    """The name of a policy that ships, or the text of a file."""
    if given is None or given in _SHIPPED:
        return given
    if not Path(given).is_file():
        raise click.UsageError(f"--policy {given} is neither {', '.join(_SHIPPED)} nor a file.")
    return read_text(Path(given))


def _both_sides(
    client: "Client",
    found: FoundSuite,
    prompt: str | None,
    against: str,
    limits: tuple[str | None, int | None],
    as_json: bool,
) -> tuple[str, str | None] | int:
    """The runs of candidate and baseline (None: nothing stands there yet), or the exit code of a run that stopped."""
    wanted = limits_of(found.suite, *limits)
    sha256 = push(client, found)
    name = found.suite.target.prompt.partition("@")[0]
    candidate_ref = prompt or f"{name}@latest"
    baseline_ref = baseline_of(client, name, candidate_ref, against)
    baseline_run: str | None = None
    for ref in (baseline_ref, candidate_ref):
        if ref is None:
            continue
        started = start(client, found, ref, baseline_run=baseline_run, suite_sha256=sha256)
        ran = carry_out(client, started, wanted, as_json=as_json)
        if not as_json:
            say_ending(ran)
        if ran.stopped is not None:
            note("No verdict: a side is not complete.")
            return exit_code(ran)
        if ref == candidate_ref:
            return ran.run, baseline_run
        baseline_run = ran.run
    raise AssertionError("the candidate's side always returns")


def baseline_of(client: "Client", name: str, candidate_ref: str, against: str) -> str | None:
    """What the candidate is compared with as ``name@4``; None while the alias means nothing. UsageError when both are
    the same version.
    """
    from headgate.prompts.reference import parse_reference

    reference = parse_reference(against if "@" in against else f"{name}@{against}")
    found = client.prompt(reference.name)
    number = reference.number or _number_of(found, str(reference.alias))
    if number is None:
        if reference.alias == PRODUCTION:
            note(f"{name} has no production yet: there is nothing to compare with, the absolute rules decide.")
            return None
        raise click.UsageError(f"{reference.name} has no alias {reference.alias}. See: headgate prompt show {name}")
    candidate = parse_reference(candidate_ref)
    candidate_number = candidate.number or _number_of(found, str(candidate.alias or PRODUCTION))
    if candidate.name == reference.name and candidate_number == number:
        raise click.UsageError(
            f"{name}@{number} is {against} already: there is nothing to judge. Push a new version, or name another: "
            f"--prompt {name}@NUMBER"
        )
    return f"{reference.name}@{number}"


def _number_of(found: Mapping[str, Any], alias: str) -> int | None:
    number = found.get("latest") if alias == "latest" else (found.get("aliases") or {}).get(alias)
    return None if number is None else int(number)


def _of_stored(client: "Client", run: str, prompt: str | None, against: str, policy: str | None) -> dict[str, Any]:
    """The verdict about a stored run: against its own baseline, or between two systems of an imported one."""
    facts = client.eval_run(run)
    if facts.get("kind") == "import":
        if prompt is None or against == PRODUCTION:
            raise click.UsageError(
                f"Run {run} was imported. Say which of its systems is judged: --prompt SYSTEM --against SYSTEM"
            )
        return client.gate(run, run, candidate_system=prompt, baseline_system=against, policy=policy, alias=PRODUCTION)
    baseline = facts.get("baseline_run") if against == PRODUCTION else against
    return client.gate(run, baseline, policy=policy, alias=PRODUCTION)


def print_verdict(answer: Mapping[str, Any]) -> None:
    """The verdict first, then each rule with its figures, then what follows from it."""
    verdict: Mapping[str, Any] = answer.get("verdict") or {}
    word = printable(verdict.get("verdict"))
    against = verdict.get("baseline")
    compared = f" against {printable(against)}" if against else ", nothing to compare with yet"
    title = click.style(word.upper(), fg=_COLOURS.get(word), bold=True)
    click.echo(
        f"{title}  {printable(verdict.get('candidate'))}{compared}"
        f"  (policy {printable(verdict.get('policy'))}, grade {printable(verdict.get('grade'))})"
    )
    rules: Sequence[Mapping[str, Any]] = verdict.get("rules") or []
    for rule in rules:
        _print_rule(rule)
    for warning in verdict.get("warnings") or []:
        note(f"warning: {warning}")
    _print_next(answer, verdict)


def _print_rule(rule: Mapping[str, Any]) -> None:
    outcome = printable(rule.get("outcome"))
    mark = {"pass": "ok", "fail": "FAIL", "inconclusive": "?", "not_applicable": "-"}.get(outcome, outcome)
    figures = [
        f"{title} {_figure(rule[name])}"
        for title, name in (("observed", "observed"), ("bound", "bound"), ("limit", "limit"))
        if rule.get(name) is not None
    ]
    figures += [f"{name} {count(rule[name])}" for name in ("n", "clusters") if rule.get(name) is not None]
    figures += [printable(rule["method"])] if rule.get("method") else []
    click.echo(
        f"{click.style(f'{mark:>4}', fg=_COLOURS.get(outcome))}  {printable(rule.get('rule'))} "
        f"{printable(rule.get('metric'))}: {printable(rule.get('sentence'))}"
    )
    if figures:
        click.echo(f"      {', '.join(figures)}")
    if rule.get("needed_items"):
        click.echo(f"      about {count(rule['needed_items'])} more cases would decide it")


def _print_next(answer: Mapping[str, Any], verdict: Mapping[str, Any]) -> None:
    receipt = answer.get("receipt")
    if isinstance(receipt, Mapping):
        name = printable(receipt.get("receipt") or receipt.get("id"))
        click.echo(
            f"Receipt {name}, grade {printable(receipt.get('grade'))}. "
            f"Next: headgate prompt promote {printable(verdict.get('candidate'))}"
        )
    elif verdict.get("verdict") == "pass":
        why = printable(answer.get("no_receipt") or "it was not passed by every policy")
        click.echo(f"No receipt: {why}.")


def _figure(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else printable(value)

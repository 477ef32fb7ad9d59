"""``headgate eval gate``: runs what is missing on both sides and prints the verdict that the gateway reached."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.connect import connect, home_option
from headgate.cli.eval_files import FoundSuite, find_suite, is_suite, push
from headgate.cli.eval_kb import KB, kb_sides
from headgate.cli.eval_results import run_named, write_file
from headgate.cli.eval_sides import Side, carry_out, exit_code, limit_options, limits_of, say_ending, start
from headgate.cli.output import emit_json, note
from headgate.cli.prompt_files import read_text
from headgate.cli.text import count, printable

if TYPE_CHECKING:
    from headgate.client import Client
    from headgate.evals.runner.side import Limits

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
@KB
@click.option("--against", default=PRODUCTION, show_default=True, metavar="REF", help="What it is compared with.")
@click.option(
    "--policy", metavar="NAME|FILE", help="starter, standard, strict or a file.  [default: the server's rule]"
)
@click.option(
    "--markdown",
    "comment",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the report for a pull request here.",
)
@click.option("--fail-exit", type=click.IntRange(1, 255), default=EXIT_FAIL, show_default=True, help="Code of a fail.")
@limit_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON: verdict, receipt, decision.")
@home_option
def gate(
    suite: str,
    prompt: str | None,
    kb: str | None,
    against: str,
    policy: str | None,
    comment: Path | None,
    fail_exit: int,
    budget: str | None,
    concurrency: int | None,
    as_json: bool,
    home: Path | None,
) -> int:
    """Judge a version by a policy on SUITE: a name in evals/, a file, a sample, or a stored or imported run.

    Runs what is missing on both sides; the gateway computes the verdict from its own log. A pass under the server's
    rule leaves a receipt, which headgate prompt promote needs. With --kb a version of a knowledge base is judged: the
    prompt (as production has it, unless named) reads it on one side, and on the other what --against means; the receipt
    is for headgate kb promote. With an imported run, --prompt and --against name
    systems in it, and no receipt is made. While the alias means nothing yet, only the absolute rules decide.

    Exit codes: 0 pass, 1 fail, 3 inconclusive (more cases are needed), 4 budget, 5 upstream, 130 interrupted.

    \b
    Examples:
      headgate eval gate support-answer --prompt support-answer@8 --against production
      headgate eval gate support-answer --kb handbook@4 --against production
      headgate eval gate support-answer --policy evals/policies/own.yaml --json
      headgate eval gate support-answer --prompt support-answer@candidate --markdown comment.md
      headgate eval gate 019ab6c2-7f31-7000-8000-000000000000 --prompt new --against old --policy standard
    """
    rules = policy_text(policy)
    with connect(home) as client:
        if is_suite(suite):
            found = find_suite(suite)
            sides = _sides(client, found, prompt, kb, against)
            ended = run_sides(client, found, sides, limits_of(found.suite, budget, concurrency), as_json)
            if isinstance(ended, int):
                return ended
            candidate, baseline = ended
            alias = against if "@" not in against and not against.isdigit() else PRODUCTION
            about = None if kb is None else "kb"
            answer = client.gate(candidate, baseline, policy=rules, alias=alias, about=about)
        else:
            candidate = run_named(client, suite)
            answer = _of_stored(client, candidate, prompt, against, rules)
        if comment is not None:
            write_file(comment, _comment(client, candidate))
    if as_json:
        emit_json(answer)
    else:
        print_verdict(answer)
        note(f"Case by case: headgate eval report {candidate} --open")
    verdict = str((answer.get("verdict") or {}).get("verdict"))
    return {"pass": 0, "fail": fail_exit}.get(verdict, EXIT_INCONCLUSIVE)


def _comment(client: "Client", run: str) -> bytes:
    """The run and its last gate, which was just now, as a comment on a pull request."""
    from headgate.evals.report import markdown, read_report

    return markdown(read_report(b"".join(client.run_report(run)))).encode()


def policy_text(given: str | None) -> str | None:
    """The name of a policy that ships, or the text of a file."""
    if given is None or given in _SHIPPED:
        return given
    if not Path(given).is_file():
        raise click.UsageError(f"--policy {given} is neither {', '.join(_SHIPPED)} nor a file.")
    return read_text(Path(given))


def _sides(
    client: "Client", found: FoundSuite, prompt: str | None, kb: str | None, against: str
) -> tuple[Side, Side | None]:
    """Candidate and baseline; None: nothing stands there yet."""
    name = found.suite.target.prompt.partition("@")[0]
    if kb is not None:
        return kb_sides(client, prompt or name, kb, against)
    candidate = prompt or f"{name}@latest"
    before = baseline_of(client, name, candidate, against)
    return Side(prompt=candidate), None if before is None else Side(prompt=before)


def run_sides(
    client: "Client", found: FoundSuite, sides: tuple[Side, Side | None], limits: "Limits", as_json: bool
) -> tuple[str, str | None] | int:
    """The runs of candidate and baseline, or the exit code of a run that stopped."""
    candidate, baseline = sides
    sha256 = push(client, found)
    baseline_run: str | None = None
    for side in (baseline, candidate):
        if side is None:
            continue
        started = start(client, found, side.prompt, kb=side.kb, baseline_run=baseline_run, suite_sha256=sha256)
        ran = carry_out(client, started, limits, as_json=as_json)
        if not as_json:
            say_ending(ran)
        if ran.stopped is not None:
            note("No verdict: a side is not complete.")
            return exit_code(ran)
        if side is candidate:
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


def print_verdict(answer: Mapping[str, Any], *, is_last: bool = True) -> None:
    """The verdict first, then each rule with its figures, then what follows from it; the next command only when no more
    comes."""
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
    _print_next(answer, verdict, is_last)


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


def _print_next(answer: Mapping[str, Any], verdict: Mapping[str, Any], is_last: bool) -> None:
    receipts = answer.get("receipts") or []
    for receipt in receipts:
        what = printable(f"{receipt.get('kind')} promote {receipt.get('object')}@{receipt.get('number')}")
        then = f" Next: headgate {what}" if is_last else ""
        click.echo(f"Receipt {printable(receipt.get('receipt'))}, grade {printable(receipt.get('grade'))}.{then}")
    if not receipts and verdict.get("verdict") == "pass":
        why = printable(answer.get("no_receipt") or "it was not passed by every policy")
        click.echo(f"No receipt: {why}.")


def _figure(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else printable(value)

"""``headgate prompt try`` and ``approve``: evidence from last week's traffic, and a second person's yes."""

from pathlib import Path

import click

from headgate.cli.alias_moves import REASON, named_version, print_approval
from headgate.cli.connect import connect, home_option
from headgate.cli.eval_gate import EXIT_FAIL, EXIT_INCONCLUSIVE, print_verdict
from headgate.cli.eval_sides import carry_out, exit_code, known, limits_of, say_ending, suite_of_run
from headgate.cli.output import emit_json, note
from headgate.cli.text import many


@click.command("try")
@click.argument("ref")
@click.option("--replay", default="7d", show_default=True, metavar="TIME", help="Calls since then.")
@click.option("--against", default="production", show_default=True, metavar="ALIAS", help="Whose calls.")
@click.option("--limit", type=click.IntRange(1, 5000), default=200, show_default=True, help="Calls at most, each once.")
@click.option("--judge", metavar="NAME@REF", help="The pairwise judge, a stored prompt.  [default: judge-pairwise]")
@click.option("--budget", metavar="USD|none", default="2", show_default=True, help="What it may cost.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: verdict, receipt, decision.")
@home_option
def try_prompt(
    ref: str,
    replay: str,
    against: str,
    limit: int,
    judge: str | None,
    budget: str,
    as_json: bool,
    home: Path | None,
) -> int:
    """Replay real calls on REF: variables from the log, de-duplicated, judged blind in both orders against what was
    answered then. Evidence without writing a test.

    Exit codes as of headgate eval gate.

    \b
    Examples:
      headgate prompt try support-answer@8 --replay 7d --budget 2
    """
    with connect(home) as client:
        facts = client.try_prompt(ref, against=against, since=replay, limit=limit, judge=judge)
        suite = suite_of_run(client, facts).suite
        started = known(client, suite, facts, facts.get("baseline_run"))
        if not as_json:
            note(f"Replaying {many(len(started.dataset.rows), 'call')} on {started.system}.")
        ran = carry_out(client, started, limits_of(suite, budget, None), as_json=as_json)
        if not as_json:
            say_ending(ran)
        if ran.stopped is not None:
            return exit_code(ran)
        answer = client.gate(ran.run, facts.get("baseline_run"), alias=against)
    if as_json:
        emit_json(answer)
    else:
        print_verdict(answer)
    verdict = str((answer.get("verdict") or {}).get("verdict"))
    return {"pass": 0, "fail": EXIT_FAIL}.get(verdict, EXIT_INCONCLUSIVE)


@click.command("approve")
@click.argument("ref", metavar="NAME@REF")
@click.option("--to", "--alias", "alias", default="production", show_default=True, metavar="ALIAS", help="Which alias.")
@REASON
@click.option("--json", "as_json", is_flag=True, help="Print JSON: approval.")
@home_option
def approve(ref: str, alias: str, reason: str | None, as_json: bool, home: Path | None) -> None:
    """Say yes to a version becoming an alias, as someone other than its author. Needs a key of the role approver.

    \b
    Examples:
      headgate prompt approve support-answer@8 --reason "read the report"
    """
    name, version = named_version(ref, "7 or candidate")
    with connect(home) as client:
        print_approval(client.approve_prompt(name, version, alias=alias, reason=reason), as_json)

"""``headgate eval``: the group."""

import click

from headgate.cli.lazy import Entry, LazyGroup

COMMANDS = {
    "init": Entry(target="headgate.cli.eval_init:init", help="A suite and a dataset from logged calls."),
    "validate": Entry(target="headgate.cli.eval_plan:validate", help="Check suite files, by line."),
    "plan": Entry(
        target="headgate.cli.eval_plan:plan", help="Calls, cached share and price, before spending anything."
    ),
    "run": Entry(target="headgate.cli.eval_run:run", help="Run a suite on a prompt version, through the gateway."),
    "resume": Entry(target="headgate.cli.eval_run:resume", help="Go on with a run that stopped."),
    "gate": Entry(target="headgate.cli.eval_gate:gate", help="Judge a version by a policy: pass, fail, inconclusive."),
    "compare": Entry(target="headgate.cli.eval_compare:compare", help="Two runs, or result files, beside each other."),
    "report": Entry(target="headgate.cli.eval_report:report", help="A run as HTML, JSON, JUnit, Markdown or text."),
    "import": Entry(target="headgate.cli.eval_results:import_results", help="Results of others, in the neutral form."),
    "export": Entry(target="headgate.cli.eval_results:export", help="The results of a run, in the neutral form."),
}


@click.group("eval", cls=LazyGroup, entries=COMMANDS)
def evaluation() -> None:
    """Evaluations: suites of cases and scorers, run through the gateway, and the gate that promotion rests on.

    A suite is a file evals/SUITE.yaml; its cases are evals/datasets/NAME.jsonl. Without such a file the samples that
    come with Headgate are found by their names.
    """

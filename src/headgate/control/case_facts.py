"""What the gate is told of a run's cases beside their results: which stand in the prompt, how many answers differ."""

from headgate.control.eval_runs import load
from headgate.control.state import ControlApp
from headgate.evals.canonical import digest
from headgate.evals.facts import CaseFacts
from headgate.evals.known_cases import cases_in_prompt
from headgate.prompts.model import decode_content
from headgate.registry import prompts
from headgate.registry.runs import Run


def case_facts(control: ControlApp, run: Run) -> CaseFacts:
    """Blocking: read from the rows that the run was made of; empty for a run without a prompt or cases of ours.

    Raises NotFound, HomeError when the rows are gone or changed.
    """
    if run.kind == "import" or run.prompt is None or run.number is None:
        return CaseFacts()
    rows = load(control, run).dataset.rows
    version = prompts.get_version(control.publisher.registry, run.prompt, run.number)
    expected = [row.expected for row in rows]
    return CaseFacts(
        in_prompt=cases_in_prompt(decode_content(version.content_json), rows),
        left=int(run.totals.get("left", 0)),
        distinct_expected=None if None in expected else len({digest(one) for one in expected}),
    )

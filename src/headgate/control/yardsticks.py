"""A run's suite and cases beside those on whose evidence an alias means what it means now."""

from headgate.control import eval_runs
from headgate.control.state import ControlApp
from headgate.core.errors import HeadgateError
from headgate.evals.yardstick import Measure, Yardstick, held_against
from headgate.registry import receipts, runs
from headgate.registry.runs import Run


def yardstick_of(control: ControlApp, run: Run, alias: str) -> Yardstick | None:
    """Blocking: what changed since the receipt of this suite that ``alias`` rests on; None where there is none."""
    registry = control.publisher.registry
    if run.kind != "eval" or run.prompt is None:
        return None
    before = receipts.standing_of(registry, "prompt", run.prompt, alias)
    since = next((receipt for receipt in before if receipt.suite == run.suite), None)
    if since is None:
        return None
    try:
        former = runs.get(registry, receipts.decision(registry, since.decision).candidate_run)
        return held_against(since.id, _measure(control, former), _measure(control, run))
    except HeadgateError as error:
        # What cannot be read cannot be shown to be kept.
        return Yardstick(since=since.id, weaker=(f"what it was measured with then cannot be read: {error}",))


def _measure(control: ControlApp, run: Run) -> Measure:
    loaded = eval_runs.load(control, run)
    return Measure(suite=loaded.suite, rows=loaded.dataset, judges=run.judges)

"""Whether a suite and its cases are at least as strong as those that decided before: nothing gone, nothing other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from headgate.evals.canonical import digest
from headgate.evals.dataset import Dataset, difference
from headgate.evals.scorer import ScorerSpec
from headgate.evals.suite import Suite, scorers_of

_NAMED = 5
_ASIDE = {"notes", "source"}  # fields of a case that no scorer reads


class Yardstick(msgspec.Struct, frozen=True, kw_only=True):
    """A run's suite and cases beside those of the receipt that what is in force rests on.

    ``weaker`` says in sentences what is gone or other; empty: at least as strong. ``stronger`` says what was added.
    """

    since: str  # the receipt's id
    weaker: tuple[str, ...] = ()
    stronger: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What a run was measured with: the suite, its rows, its judges as pinned."""

    suite: Suite
    rows: Dataset  # of its split
    judges: Mapping[str, Any]


def held_against(since: str, before: Measure, now: Measure) -> Yardstick:
    """What changed from the former measure to the present one; a change that cannot be weighed counts as weaker."""
    weaker, stronger = _scorers(before.suite, now.suite)
    for more_weaker, more_stronger in (_settings(before, now), _judges(before, now), _cases(before.rows, now.rows)):
        weaker += more_weaker
        stronger += more_stronger
    return Yardstick(since=since, weaker=tuple(weaker), stronger=tuple(stronger))


def _scorers(before: Suite, now: Suite) -> tuple[list[str], list[str]]:
    old, new = _digests(before), _digests(now)
    gone = sorted(old.keys() - new.keys())
    other = sorted(name for name in old.keys() & new.keys() if old[name] != new[name])
    added = sorted(new.keys() - old.keys())
    weaker = [f"the scorer{_s(gone)} {_listed(gone)} {_is(gone)} gone"] if gone else []
    weaker += [f"the scorer{_s(other)} {_listed(other)} {_is(other)} not what {_it(other)} was"] if other else []
    return weaker, [f"the scorer{_s(added)} {_listed(added)} {_is(added)} new"] if added else []


def _digests(suite: Suite) -> dict[str, str]:
    versions = {scorer.spec.id: scorer.version for scorer in scorers_of(suite)}
    return {one.id: digest({**_plain(one), "version": versions[one.id]}) for one in suite.scorers}


def _plain(spec: ScorerSpec) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(spec)
    return found


def _settings(before: Measure, now: Measure) -> tuple[list[str], list[str]]:
    old, new = before.suite.run, now.suite.run
    weaker, stronger = [], []
    if new.repeat < old.repeat:
        weaker.append(f"each case is asked {new.repeat} and not {old.repeat} times")
    elif new.repeat > old.repeat:
        stronger.append(f"each case is asked {new.repeat} and not {old.repeat} times")
    if new.cluster_by != old.cluster_by:
        weaker.append(f"cases are clustered by {new.cluster_by or 'nothing'} and not by {old.cluster_by or 'nothing'}")
    if gone := sorted(set(old.slices) - set(new.slices)):
        weaker.append(f"the slice{_s(gone)} {_listed(gone)} {_is(gone)} gone")
    if now.suite.target.kb != before.suite.target.kb:
        weaker.append(
            f"it reads from {now.suite.target.kb or 'its own knowledge'}, not {before.suite.target.kb or 'its own'}"
        )
    return weaker, stronger


def _judges(before: Measure, now: Measure) -> tuple[list[str], list[str]]:
    changed = [
        f"the judge {name} is {now.judges[name]['ref']} and was {old['ref']}"
        for name, old in sorted(before.judges.items())
        if name in now.judges and now.judges[name]["sha256"] != old["sha256"]
    ]
    return changed, []


def _cases(before: Dataset, now: Dataset) -> tuple[list[str], list[str]]:
    found = difference(before, now)
    gone = [row.id for row in found.removed]
    other = [row.id for row in found.changed if not set(row.fields) <= _ASIDE]
    weaker = [f"{len(gone)} case{_s(gone)} {_is(gone)} gone ({_listed(gone)})"] if gone else []
    weaker += (
        [f"{len(other)} case{_s(other)} {_is(other)} not what {_it(other)} was ({_listed(other)})"] if other else []
    )
    added = [row.id for row in found.added]
    return weaker, [f"{len(added)} case{_s(added)} {_is(added)} new"] if added else []


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")


def _s(names: Sequence[str]) -> str:
    return "" if len(names) == 1 else "s"


def _is(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _it(names: Sequence[str]) -> str:
    return "it" if len(names) == 1 else "they"

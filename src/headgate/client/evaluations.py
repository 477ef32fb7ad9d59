"""The part of the client that evaluations need: datasets, suites, runs, gates, receipts, judge cards and scores."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from headgate.client.wire import STREAM_TIMEOUT_S, Wire, given

MAX_KEYS = 5000


class EvaluationCalls(Wire):
    """Nothing that counts is posted: a run names requests, and the gateway finds and judges them in its own log."""

    # -- datasets ------------------------------------------------------------------------------------------------

    def push_dataset(self, name: str, rows_jsonl: str, *, message: str | None = None) -> dict[str, Any]:
        """Stores rows (JSON Lines) as a version: ``name``, ``number``, ``sha256``, ``is_new``, ``rows``."""
        body = {"name": name, "rows_jsonl": rows_jsonl, "message": message}
        return self._json("POST", "/api/datasets/push", body=body)

    def datasets(self) -> dict[str, Any]:
        """The newest version of every dataset: ``datasets``."""
        return self._json("GET", "/api/datasets")

    def dataset(self, name: str, version: int | str | None = None) -> dict[str, Any]:
        """One dataset with its ``versions``, newest first, and the facts of the version asked for (newest)."""
        return self._json("GET", f"/api/datasets/{_name(name)}", query=given(version=_text(version)))

    def dataset_rows(self, name: str, version: int | str | None = None) -> Iterator[bytes]:
        """The rows of a version as JSON Lines, in the order pushed."""
        return self._stream(f"/api/datasets/{_name(name)}/rows", given(version=_text(version)))

    def dataset_difference(self, name: str, before: int | str, after: int | str) -> dict[str, Any]:
        """Rows ``added``, ``removed`` and ``changed`` between two versions, by row id, and how many stayed ``same``."""
        return self._json("GET", f"/api/datasets/{_name(name)}/diff", query={"from": str(before), "to": str(after)})

    def dataset_from_log(
        self, filters: Mapping[str, str], *, limit: int = 100, name: str | None = None, message: str | None = None
    ) -> dict[str, Any]:
        """Rows made of logged calls with variables, de-duplicated, corrections as expected answers: ``rows_jsonl``,
        ``rows``, ``skipped``; with ``name`` they are stored too and ``dataset`` says as which version."""
        body = {"filter": dict(filters), "limit": limit, "name": name, "message": message}
        return self._json("POST", "/api/datasets/from-log", body=body)

    # -- suites and runs -----------------------------------------------------------------------------------------

    def push_suite(self, file: str, text: str) -> dict[str, Any]:
        """Stores the self-contained text of a suite by its content: ``suite``, ``sha256``, ``warnings``."""
        return self._json("POST", "/api/evals/suites", body={"file": file, "text": text})

    def suite(self, name_or_sha256: str) -> dict[str, Any]:
        """The newest text of a suite, by name or by hash: ``suite``, ``sha256``, ``file``, ``text``."""
        return self._json("GET", f"/api/evals/suites/{_name(name_or_sha256)}")

    def find_answers(self, keys: Sequence[str], *, with_chunks: bool = False) -> dict[str, Any]:
        """Which cells and asks the log has an answer to: ``found`` maps a key to ``request_id``, ``output`` and
        ``prompt_sha256``; ``with_chunks`` the outputs say what they read. Any number of keys; asked for in parts."""
        found: dict[str, Any] = {}
        for first in range(0, len(keys), MAX_KEYS):
            body = {"keys": list(keys[first : first + MAX_KEYS]), "chunks": with_chunks}
            answer = self._json("POST", "/api/evals/find", body=body)
            found |= answer["found"]
        return found

    def start_run(
        self,
        suite_sha256: str,
        prompt: str,
        *,
        kb: str | None = None,
        baseline_run: str | None = None,
        is_resumed: bool = True,
    ) -> dict[str, Any]:
        """A run of a suite: ``run``, ``status``, ``system``, ``prompt_sha256``, ``dataset``, ``judges``, ``cells``.
        An unfinished one of the same caller and the same contents is returned again, unless ``is_resumed`` is False."""
        body = {
            "suite_sha256": suite_sha256,
            "prompt": prompt,
            "kb": kb,
            "baseline_run": baseline_run,
            "resume": is_resumed,
        }
        return self._json("POST", "/api/evals/runs", body=body)

    def finish_run(
        self,
        run: str,
        request_ids: Sequence[str],
        *,
        own_scores: Sequence[Mapping[str, Any]] = (),
        stopped: str | None = None,
    ) -> dict[str, Any]:
        """Judges what the log has of a run, once these requests are stored: ``status``, ``results``, ``missing``,
        ``totals``. ``own_scores``: {item, repeat, scorer, value, status, reason} of scorers that run on the client."""
        body = {
            "request_ids": list(request_ids),
            "own_scores": [dict(score) for score in own_scores],
            "stopped": stopped,
        }
        return self._json("POST", f"/api/evals/runs/{_name(run)}/finish", body=body, timeout_s=STREAM_TIMEOUT_S)

    def eval_runs(
        self, *, suite: str | None = None, prompt: str | None = None, before: str | None = None, limit: int = 50
    ) -> dict[str, Any]:
        """Runs, newest first: ``runs`` and ``next`` (for ``before``)."""
        query = given(suite=suite, prompt=prompt, before=before, limit=str(limit))
        return self._json("GET", "/api/evals/runs", query=query)

    def eval_run(self, run: str) -> dict[str, Any]:
        """One run with its ``totals``, ``missing``, ``scorers`` and the gate ``decisions`` about it."""
        return self._json("GET", f"/api/evals/runs/{_name(run)}")

    def run_results(self, run: str) -> Iterator[bytes]:
        """The results of a run in the neutral form, JSON Lines; the same run gives the same bytes."""
        return self._stream(f"/api/evals/runs/{_name(run)}/results")

    def run_report(
        self, run: str, against: str | None = None, *, system: str | None = None, against_system: str | None = None
    ) -> Iterator[bytes]:
        """The report of a run as JSON, compared with another run; the same runs give the same bytes.

        The systems are named where a run holds several.
        """
        asked = given(against=against, system=system, against_system=against_system)
        return self._stream(f"/api/evals/runs/{_name(run)}/report", asked)

    def run_cells(self, run: str, *, after: int = 0, limit: int = 200) -> dict[str, Any]:
        """Cells of a run in order: ``cells`` (item, repeat, request_id, output, scores with reasons), ``next``."""
        query = {"after": str(after), "limit": str(limit)}
        return self._json("GET", f"/api/evals/runs/{_name(run)}/cells", query=query)

    def import_results(self, lines: bytes | Iterable[bytes], file: str = "results.jsonl") -> dict[str, Any]:
        """Stores results in the neutral form (64 MB at most): ``runs``, each with ``run``, ``name``, ``systems`` and
        ``rows``."""
        return self._json(
            "POST",
            "/api/evals/import",
            query={"file": file},
            content=lines if isinstance(lines, bytes) else b"".join(line.rstrip(b"\n") + b"\n" for line in lines),
            content_type="application/x-ndjson",
            timeout_s=STREAM_TIMEOUT_S,
        )

    # -- the gate ------------------------------------------------------------------------------------------------

    def gate(
        self,
        candidate: str,
        baseline: str | None = None,
        *,
        candidate_system: str | None = None,
        baseline_system: str | None = None,
        policy: str | None = None,
        alias: str | None = None,
        about: str | None = None,
    ) -> dict[str, Any]:
        """Judges a run against a baseline: ``decision``, ``verdict`` and ``receipt`` (None unless it passed on evidence
        of the log). ``policy`` is the name of one that ships, or the text of a file; the rule that covers ``alias``
        (production) decides when none is given, the one of the prompt or of the knowledge base as ``about`` says."""
        body = {
            "candidate": candidate,
            "baseline": baseline,
            "candidate_system": candidate_system,
            "baseline_system": baseline_system,
            "policy": policy,
            "alias": alias,
            "object": about,
        }
        return self._json("POST", "/api/evals/gate", body=body, timeout_s=STREAM_TIMEOUT_S)

    def detectable(self, plan: Mapping[str, Any]) -> dict[str, Any]:
        """What a planned run could show: ``rules`` with the smallest difference each. ``plan`` has suite, prompt,
        cases, primary, must_pass, clusters, policy, alias."""
        return self._json("POST", "/api/evals/detect", body=dict(plan))

    def compare_runs(
        self,
        a: str,
        b: str,
        *,
        a_system: str | None = None,
        b_system: str | None = None,
        level: float = 0.95,
    ) -> dict[str, Any]:
        """The paired comparison of two runs (or two systems of one), per scorer; decides and stores nothing."""
        body = {"a": a, "b": b, "a_system": a_system, "b_system": b_system, "level": level}
        return self._json("POST", "/api/evals/compare", body=body, timeout_s=STREAM_TIMEOUT_S)

    def decision(self, decision: str) -> dict[str, Any]:
        """One decision of a gate, as it was made."""
        return self._json("GET", f"/api/evals/decisions/{_name(decision)}")

    def policy_for(self, prompt: str, alias: str = "production") -> dict[str, Any]:
        """What a move of an alias would need: ``rule`` (None: nothing), ``policy``, ``receipts`` it lacks."""
        return self._json("GET", "/api/evals/rule", query={"prompt": prompt, "alias": alias})

    def receipts(self, prompt: str | None = None) -> dict[str, Any]:
        """Receipts, newest first, of one prompt or all: ``receipts``."""
        return self._json("GET", "/api/receipts", query=given(object=prompt))

    def receipt(self, receipt: str) -> dict[str, Any]:
        """One receipt, with what it is bound to and whether it is still fresh."""
        return self._json("GET", f"/api/receipts/{_name(receipt)}")

    def approve_prompt(
        self, name: str, version: int | str, *, alias: str = "production", reason: str | None = None
    ) -> dict[str, Any]:
        """Says yes to a version becoming an alias, as a second person: ``approval``."""
        body = {"version": version, "alias": alias, "reason": reason}
        return self._json("POST", f"/api/prompts/{_name(name)}/approve", body=body)

    def try_prompt(
        self,
        prompt: str,
        *,
        against: str = "production",
        since: str = "7d",
        limit: int = 200,
        judge: str | None = None,
    ) -> dict[str, Any]:
        """A run that replays logged calls of one version on another: as ``start_run``, with ``suite_sha256``,
        ``baseline_run`` (what was answered then) and ``skipped`` by reason."""
        body = {"prompt": prompt, "against": against, "since": since, "limit": limit, "judge": judge}
        return self._json("POST", "/api/evals/try", body=body)

    # -- judges and scores ---------------------------------------------------------------------------------------

    def push_judge_card(self, card: Mapping[str, Any]) -> dict[str, Any]:
        """Calibrates a judge on logged judge requests and human labels: ``card``."""
        return self._json("POST", "/api/judges/cards", body=dict(card), timeout_s=STREAM_TIMEOUT_S)

    def judge_cards(self, judge: str | None = None) -> dict[str, Any]:
        """Judge cards, newest first: ``cards``."""
        return self._json("GET", "/api/judges/cards", query=given(judge=judge))

    def push_scores(self, scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Judgements of requests, each {request_id, name, value | label | comment | correction, source}: ``stored``."""
        return self._json("POST", "/api/scores", body={"scores": [dict(score) for score in scores]})


def _name(name: str) -> str:
    return quote(name, safe="")


def _text(version: int | str | None) -> str | None:
    return None if version is None else str(version)

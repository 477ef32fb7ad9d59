"""Datasets, runs, decisions and receipts as the API shows them."""

from typing import Any

import msgspec

from headgate.control.gates import Gated
from headgate.control.prompt_json import time_json
from headgate.core.ids import now_us
from headgate.registry.datasets import DatasetVersion
from headgate.registry.judge_cards import JudgeCard
from headgate.registry.receipts import Decision, Receipt
from headgate.registry.runs import Run


def dataset_json(version: DatasetVersion) -> dict[str, Any]:
    """One version of a dataset."""
    return {
        "name": version.name,
        "number": version.number,
        "sha256": version.sha256,
        "rows": version.rows,
        "bytes": version.bytes,
        "message": version.message,
        "pushed_by": version.who,
        "created_at": time_json(version.created_at_us),
    }


def run_json(run: Run) -> dict[str, Any]:
    """One run; ``totals`` is empty until it is finished."""
    dataset = None
    if run.dataset is not None:
        dataset = {"name": run.dataset, "number": run.dataset_number, "sha256": run.dataset_sha256}
    return {
        "run": run.id,
        "kind": run.kind,
        "name": run.name,
        "status": run.status,
        "stopped": run.stopped,
        "system": run.system,
        "suite": run.suite,
        "suite_sha256": run.suite_sha256,
        "prompt": run.prompt,
        "prompt_version": run.number,
        "prompt_sha256": run.prompt_sha256,
        "kb": run.kb,
        "kb_sha256": run.kb_sha256,
        "dataset": dataset,
        "judges": run.judges,
        "baseline_run": run.baseline_run,
        "cells": run.cells,
        "scorers": run.scorers,
        "result_sha256": run.result_sha256,
        "who": run.who,
        "created_at": time_json(run.created_at_us),
        "finished_at": None if run.finished_at_us is None else time_json(run.finished_at_us),
        "totals": {name: value for name, value in run.totals.items() if name != "missing"},
        "missing": run.totals.get("missing", []),
    }


def decision_json(decision: Decision) -> dict[str, Any]:
    """One decision with its whole verdict."""
    found = vars(decision).copy()
    found["at"] = time_json(found.pop("at_us"))
    found["decision"] = found.pop("id")
    found["rules"] = found["detail"].get("rules", [])
    return found


def receipt_json(receipt: Receipt) -> dict[str, Any]:
    """One receipt, and whether its time is over."""
    found = vars(receipt).copy()
    issued, expires = found.pop("issued_at_us"), found.pop("expires_at_us")
    return {
        **found,
        "receipt": receipt.id,
        "judge_cards": list(receipt.judge_cards),
        "weaker": list(receipt.weaker),
        "issued_at": time_json(issued),
        "expires_at": None if expires is None else time_json(expires),
        "expired": receipt.is_expired(now_us()),
    }


def card_json(card: JudgeCard) -> dict[str, Any]:
    """One judge card."""
    found = vars(card).copy()
    created, expires = found.pop("created_at_us"), found.pop("expires_at_us")
    return {
        **found,
        "card": card.id,
        "created_at": time_json(created),
        "expires_at": time_json(expires),
        "expired": expires <= now_us(),
    }


def gated_json(gated: Gated) -> dict[str, Any]:
    """What a gate answered; ``verdict`` is that of the policy that decides, ``others`` are the rest."""
    worst = gated.worst
    return {
        "decision": gated.decisions[worst].id,
        "grade": gated.decisions[worst].grade,
        "verdict": msgspec.to_builtins(gated.verdicts[worst]),
        "others": [
            {"decision": decision.id, "verdict": msgspec.to_builtins(verdict)}
            for number, (decision, verdict) in enumerate(zip(gated.decisions, gated.verdicts, strict=True))
            if number != worst
        ],
        "receipt": receipt_json(gated.receipts[0]) if gated.receipts else None,
        "receipts": [receipt_json(one) for one in gated.receipts],
        "no_receipt": gated.no_receipt,
    }

"""What a model was worth: realised metrics by version, with how many predictions have a label and how sure the numbers
are."""

import math
from collections.abc import Mapping
from typing import Any

from headgate.core.signature import Signature
from headgate.registry.model_rows import Model
from headgate.stats.distributions import normal_quantile, t_quantile
from headgate.stats.proportions import wilson
from headgate.store.labelled import Asked, Ranking, confusion, coverage, errors, ranking
from headgate.store.log import Log

LEVEL = 0.95
MAX_CLASSES_SHOWN = 50


def performance(log: Log, model: Model, asked: Asked) -> list[dict[str, Any]]:
    """Blocking: `[{version, task, rows, labelled, coverage, metrics: [{name, value, low, high, n}], confusion}]`, by
    version. A metric that cannot be known yet has the value null and a reason."""
    counts = coverage(log, asked)
    signatures = {version.number: version.signature for version in model.versions}
    kinds = {signature.task for number, signature in signatures.items() if number in counts}
    tables = confusion(log, asked) if "classification" in kinds else {}
    sums = errors(log, asked) if "regression" in kinds else {}
    ranks = _rankings(log, asked, {number: signatures[number] for number in counts if number in signatures})
    found: list[dict[str, Any]] = []
    for number, (rows, labelled) in counts.items():
        signature = signatures.get(number)
        task = "other" if signature is None else signature.task
        table = tables.get(number, {})
        metrics: list[dict[str, Any]] = []
        if signature is not None and task == "classification":
            metrics = [*_of_classes(table, signature), *_of_ranking(ranks.get(number))]
        elif task == "regression":
            metrics = _of_errors(sums.get(number, {}))
        found.append(
            {
                "version": number,
                "task": task,
                "rows": rows,
                "labelled": labelled,
                "coverage": labelled / rows if rows else None,
                "metrics": metrics,
                "confusion": _confusion_json(table),
            }
        )
    return found


def _rankings(log: Log, asked: Asked, signatures: Mapping[int, Signature]) -> dict[int, Ranking]:
    """Of the versions with two classes; by positive class, as versions may name it differently."""
    found: dict[int, Ranking] = {}
    for positive in {s.positive for s in signatures.values() if s.positive is not None and len(s.classes) == 2}:
        for number, one in ranking(log, asked, positive).items():
            if number in signatures and signatures[number].positive == positive:
                found[number] = one
    return found


def _metric(name: str, value: float | None, low: float | None, high: float | None, n: int, reason: str = "") -> Any:
    found = {"name": name, "value": value, "low": low, "high": high, "n": n}
    return {**found, "reason": reason} if value is None else found


def _share(name: str, hits: int, n: int, reason: str) -> Any:
    if n == 0:
        return _metric(name, None, None, None, 0, reason)
    return _metric(name, hits / n, *wilson(hits, n, LEVEL), n)


def _of_classes(table: Mapping[tuple[str, str], int], signature: Signature) -> list[Any]:
    total = sum(table.values())
    right = sum(count for (predicted, truth), count in table.items() if predicted == truth)
    found = [_share("accuracy", right, total, "no prediction has a label")]
    classes = sorted({truth for _, truth in table} | {predicted for predicted, _ in table})
    wanted = [signature.positive] if signature.positive is not None and len(signature.classes) == 2 else classes
    for name in wanted[:MAX_CLASSES_SHOWN]:
        hits = table.get((name, name), 0)
        said = sum(count for (predicted, _), count in table.items() if predicted == name)
        true = sum(count for (_, truth), count in table.items() if truth == name)
        suffix = "" if len(wanted) == 1 else f" ({name})"
        found.append(_share(f"precision{suffix}", hits, said, f"{name} was not predicted"))
        found.append(_share(f"recall{suffix}", hits, true, f"no label is {name}"))
    return found


def _of_ranking(rank: Ranking | None) -> list[Any]:
    if rank is None:
        return []
    n = rank.positives + rank.negatives
    reach = None if rank.variance is None else normal_quantile((1 + LEVEL) / 2) * math.sqrt(max(0.0, rank.variance))
    low = None if rank.auc is None or reach is None else max(0.0, rank.auc - reach)
    high = None if rank.auc is None or reach is None else min(1.0, rank.auc + reach)
    auc = _metric("roc_auc", rank.auc, low, high, n, "the labels are all of one class")
    return [auc, _mean("brier", rank.brier_mean, rank.brier_sd, n)]


def _mean(name: str, value: float | None, sd: float | None, n: int) -> Any:
    if value is None:
        return _metric(name, None, None, None, n, "no prediction has a label")
    if sd is None or n < 2:
        return _metric(name, value, None, None, n)
    reach = t_quantile((1 + LEVEL) / 2, n - 1) * sd / math.sqrt(n)
    return _metric(name, value, value - reach, value + reach, n)


def _of_errors(sums: Mapping[str, float | None]) -> list[Any]:
    n = int(sums.get("n") or 0)
    mae = _mean("mae", sums.get("mae"), sums.get("mae_sd"), n)
    square = _mean("rmse", sums.get("mse"), sums.get("mse_sd"), n)
    rmse = {
        name: math.sqrt(max(0.0, value)) if name in ("value", "low", "high") and value is not None else value
        for name, value in square.items()
    }
    bias = _mean("bias", sums.get("bias"), sums.get("bias_sd"), n)
    variance, mse = sums.get("truth_variance"), sums.get("mse")
    r2 = None if not variance or mse is None else 1 - mse / variance
    return [mae, rmse, bias, _metric("r2", r2, None, None, n, "the labels do not differ")]


def _confusion_json(table: Mapping[tuple[str, str], int]) -> list[dict[str, Any]]:
    return [
        {"predicted": predicted, "true": truth, "rows": count}
        for (predicted, truth), count in list(table.items())[:400]
    ]

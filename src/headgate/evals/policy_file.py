"""Reads policy files (`evals/policies/<name>.yaml`): every fault with its line and the nearest key."""

import re
from typing import Any

import msgspec

from headgate.core.durations import BadTime, parse_duration
from headgate.core.settings_file import nearest
from headgate.evals.canonical import digest
from headgate.evals.faults import PolicyFault
from headgate.evals.policy import (
    FloorRule,
    JudgeRule,
    MetricRule,
    ModelRule,
    Policy,
    RatioRule,
    RunQuality,
    SliceRule,
)
from headgate.prompts import yaml_text

SCHEMA = "headgate/gate@1"
MAX_FILE_BYTES = 256 << 10
_DEFAULT_EXPIRY_S = 30 * 86_400.0
_TOP_KEYS = (
    "schema", "name", "description", "grade", "alpha", "primary", "absolute", "slices", "cost", "latency",
    "quality_of_run", "judge", "power", "approvals", "suites", "receipt", "model",
)  # fmt: skip
_PAIRED = {"superiority": "superiority", "non_inferior": "non_inferior", "no_significant_loss": "no_significant_loss"}
_RATIOS = {
    "cost": ("mean_usd", "mean_usd_ratio"),
    "latency": ("mean_ms", "mean_ms_ratio", "p95_ms", "p95_ratio"),
}
_NAME = re.compile(r"[^/]*?(?=(?:\.ya?ml)?$)")
_Path = tuple[str | int, ...]


def read_policy(text: str, file: str) -> Policy:
    """The policy in ``text``; see `headgate.evals.policy.load_policy`."""
    return _Reading(text, file).policy()


class _Reading:
    def __init__(self, text: str, file: str) -> None:
        if len(text) > MAX_FILE_BYTES:
            raise PolicyFault([f"{file}:1 a policy file has at most {MAX_FILE_BYTES >> 10} KB"])
        self._file = file
        self._document = yaml_text.read(text)
        self._faults = [(place.line, what) for place, what in self._document.faults]

    def policy(self) -> Policy:
        data = self._document.data
        if not isinstance(data, dict):
            self._faults = self._faults or [(1, "a policy is a mapping with grade and rules such as primary, absolute")]
            raise self._refusal()
        self._check_keys((), data, _TOP_KEYS)
        if data.get("schema") not in (None, SCHEMA):
            self._fault(("schema",), f"the schema of a policy is {SCHEMA}")
        rules: dict[str, Any] = {
            "grade": self._one_of(data, "grade", ("A", "B", "C"), "C"),
            "alpha": self._share((), data, "alpha", 0.05, most=0.5),
            "primary": self._primary(data.get("primary")),
            "absolute": self._absolute(data.get("absolute")),
            "slices": self._shape(data, "slices", SliceRule, {"by", "min_n", "alarm", "max_drop"}),
            "cost": self._ratios(data, "cost"),
            "latency": self._ratios(data, "latency"),
            "quality_of_run": self._shape(data, "quality_of_run", RunQuality, set(RunQuality.__struct_fields__)),
            "judge": self._judge(data.get("judge")),
            "power_min": self._power(data.get("power")),
            "approvals": self._whole(data, "approvals"),
            "suites": self._names(data, "suites"),
            "receipt_expires_s": self._expiry(data.get("receipt")),
        }
        if "model" in data:  # left out elsewhere, so that the hash of a policy without it stays what it was
            rules["model"] = self._shape(data, "model", ModelRule, set(ModelRule.__struct_fields__))
        if self._faults:
            raise self._refusal()
        found = _NAME.search(self._file.rpartition("/")[2])
        name = data.get("name") or (found.group(0) if found else "") or self._file
        return Policy(
            name=str(name),
            sha256=digest(msgspec.to_builtins(rules)),
            description=str(data.get("description", "")),
            **rules,
        )

    def _primary(self, given: Any) -> tuple[MetricRule, ...]:
        found = []
        for at, item in self._items("primary", given):
            path: _Path = ("primary", at)
            self._check_keys(path, item, ("metric", *_PAIRED, "bound"))
            kinds = [kind for kind in _PAIRED if kind in item]
            if len(kinds) != 1:
                self._fault(path, f"a primary rule has one of {', '.join(_PAIRED)}")
                continue
            inner = item[kinds[0]]
            inner = {} if inner is True or inner is None else inner
            if not isinstance(inner, dict):
                self._fault((*path, kinds[0]), "write {margin: 0.02}")
                continue
            self._check_keys((*path, kinds[0]), inner, ("margin",))
            margin = self._number((*path, kinds[0]), inner, "margin", 0.0)
            found.append(MetricRule(metric=self._metric(path, item), kind=kinds[0], margin=margin))  # type: ignore[arg-type]
        return tuple(found)

    def _absolute(self, given: Any) -> tuple[FloorRule, ...]:
        found = []
        for at, item in self._items("absolute", given):
            path: _Path = ("absolute", at)
            self._check_keys(path, item, ("metric", "min", "max", "bound", "failures", "only_first"))
            if not {"min", "max", "failures"} & set(item):
                self._fault(path, "an absolute rule has min, max or failures")
                continue
            rule = self._converted(path, {"metric": self._metric(path, item), **item}, FloorRule)
            if rule is not None:
                found.append(rule)
        return tuple(found)

    def _ratios(self, data: dict[str, Any], key: str) -> tuple[RatioRule, ...]:
        given = data.get(key)
        if given is None:
            return ()
        if not isinstance(given, dict):
            self._fault((key,), f"write {{{_RATIOS[key][1]}: {{max: 1.1}}}}")
            return ()
        self._check_keys((key,), given, _RATIOS[key])
        found = []
        for metric, inner in given.items():
            if metric in _RATIOS[key] and isinstance(inner, dict):
                self._check_keys((key, metric), inner, ("max", "bound"))
                default = "observed" if metric.startswith("p95") else "upper"
                rule = self._converted((key, metric), {"metric": metric, "bound": default, **inner}, RatioRule)
                found += [] if rule is None else [rule]
            elif metric in _RATIOS[key]:
                self._fault((key, metric), "write {max: 1.1}")
        return tuple(found)

    def _judge(self, given: Any) -> JudgeRule | None:
        if given is None:
            return None
        if not isinstance(given, dict):
            self._fault(("judge",), "write {card: calibrated, kappa_lower: 0.4}")
            return None
        self._check_keys(("judge",), given, ("card", "kappa_lower", "beats_longest", "swap_consistency", "max_age"))
        rest = {key: value for key, value in given.items() if key != "max_age"}
        age_s = self._duration(("judge", "max_age"), given.get("max_age"))
        found: JudgeRule | None = self._converted(("judge",), {**rest, "max_age_s": age_s}, JudgeRule)
        return found

    def _power(self, given: Any) -> float | None:
        if given is None:
            return None
        if not isinstance(given, dict):
            self._fault(("power",), "write {min: 0.8}")
            return None
        self._check_keys(("power",), given, ("min",))
        return self._share(("power",), given, "min", 0.8, most=1.0)

    def _expiry(self, given: Any) -> float | None:
        if given is None:
            return _DEFAULT_EXPIRY_S
        if not isinstance(given, dict):
            self._fault(("receipt",), "write {expires: 30d}")
            return None
        self._check_keys(("receipt",), given, ("expires",))
        return self._duration(("receipt", "expires"), given.get("expires")) or _DEFAULT_EXPIRY_S

    # Small things.

    def _items(self, key: str, given: Any) -> list[tuple[int, dict[str, Any]]]:
        if given is None:
            return []
        if not isinstance(given, list) or not all(isinstance(item, dict) for item in given):
            self._fault((key,), f"{key} is a list of rules, each with metric")
            return []
        return list(enumerate(given))

    def _metric(self, path: _Path, item: dict[str, Any]) -> str:
        metric = item.get("metric")
        if not isinstance(metric, str) or not metric:
            self._fault(path, "a rule names its metric: a scorer, a glob, primary or must_pass")
            return ""
        return metric

    def _shape(self, data: dict[str, Any], key: str, shape: type[Any], keys: set[str]) -> Any:
        given = data.get(key)
        if given is None:
            return None
        if not isinstance(given, dict):
            self._fault((key,), f"{key} is a mapping of {', '.join(sorted(keys))}")
            return None
        self._check_keys((key,), given, tuple(sorted(keys)))
        if given.get("alarm") not in (None, "holm"):
            self._fault((key, "alarm"), "the alarm over slices is holm")
        return self._converted((key,), {name: value for name, value in given.items() if name != "alarm"}, shape)

    def _converted(self, path: _Path, data: dict[str, Any], shape: type[Any]) -> Any:
        try:
            return msgspec.convert(data, shape)
        except msgspec.ValidationError as error:
            self._fault(path, str(error))
            return None

    def _one_of(self, data: dict[str, Any], key: str, allowed: tuple[str, ...], default: str) -> str:
        value = data.get(key, default)
        if value not in allowed:
            self._fault((key,), f"{key} is one of {', '.join(allowed)}")
            return default
        return str(value)

    def _number(self, path: _Path, data: dict[str, Any], key: str, default: float) -> float:
        value = data.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
            self._fault((*path, key), f"{key} is a number of at least 0")
            return default
        return float(value)

    def _share(self, path: _Path, data: dict[str, Any], key: str, default: float, *, most: float) -> float:
        value = self._number(path, data, key, default)
        if not 0 < value <= most:
            self._fault((*path, key), f"{key} is above 0 and at most {most:g}")
        return value

    def _whole(self, data: dict[str, Any], key: str) -> int:
        value = data.get(key, 0)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 10:
            self._fault((key,), f"{key} is a whole number from 0 to 10")
            return 0
        return value

    def _names(self, data: dict[str, Any], key: str) -> tuple[str, ...]:
        value = data.get(key) or []
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            self._fault((key,), f"{key} is a list of names")
            return ()
        return tuple(value)

    def _duration(self, path: _Path, value: Any) -> float | None:
        if value is None:
            return None
        try:
            return float(parse_duration(str(value)))
        except BadTime as error:
            self._fault(path, str(error))
            return None

    def _check_keys(self, path: _Path, data: dict[str, Any], known: tuple[str, ...]) -> None:
        for key in data:
            if key not in known:
                near = nearest(str(key), list(known))
                hint = f"; nearest: {near}" if near else f"; there are {', '.join(known)}"
                self._fault((*path, key), f'unknown key "{str(key)[:60]}"{hint}')

    def _fault(self, path: _Path, what: str) -> None:
        self._faults.append((self._document.place(path).line, what))

    def _refusal(self) -> PolicyFault:
        return PolicyFault([f"{self._file}:{line} {what}" for line, what in sorted(set(self._faults))])

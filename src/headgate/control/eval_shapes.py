"""The bodies that the API of evaluations takes, and how large they may be."""

from typing import Any, Literal

import msgspec

MAX_DATASET_BYTES = 80 << 20  # 64 MB of rows as a JSON text
MAX_SUITE_BYTES = 2 << 20
MAX_IMPORT_BYTES = 64 << 20
MAX_FIND_BYTES = 1 << 20
MAX_FINISH_BYTES = 32 << 20
MAX_SCORES = 1000
MAX_KEYS = 5000
MAX_LOG_ROWS = 5000


class PushDataset(msgspec.Struct, forbid_unknown_fields=True):
    """Rows to store as a version of a dataset."""

    name: str
    rows_jsonl: str
    message: str | None = None
    file: str | None = None


class FromLog(msgspec.Struct, forbid_unknown_fields=True):
    """Which logged calls become rows; ``filter`` as for the list of requests."""

    filter: dict[str, str] = {}
    limit: int = 100
    name: str | None = None
    message: str | None = None


class PushSuite(msgspec.Struct, forbid_unknown_fields=True):
    """The text of a suite file, self-contained."""

    file: str
    text: str


class Find(msgspec.Struct, forbid_unknown_fields=True):
    """Keys of cells and asks; with `chunks` the outputs say what they read."""

    keys: list[str]
    chunks: bool = False


class StartRun(msgspec.Struct, forbid_unknown_fields=True):
    """What to run: `prompt` is `name@8`, or an alias or number of the suite's own target."""

    suite_sha256: str
    prompt: str
    kb: str | None = None
    baseline_run: str | None = None
    resume: bool = True


class OwnScore(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a scorer that runs on the client says of one cell."""

    item: str
    scorer: str
    value: float | None
    repeat: int = 0
    status: Literal["ok", "unscored", "error"] = "ok"
    reason: str = ""


class FinishRun(msgspec.Struct, forbid_unknown_fields=True):
    """The client has made its calls: these requests must be stored before anything is judged."""

    request_ids: list[str] = []
    own_scores: list[OwnScore] = []
    stopped: Literal["budget", "wall", "interrupted", "upstream"] | None = None


class Gate(msgspec.Struct, forbid_unknown_fields=True):
    """Two runs to judge; systems are named where a run holds several (imports)."""

    candidate: str
    baseline: str | None = None
    candidate_system: str | None = None
    baseline_system: str | None = None
    policy: str | None = None
    alias: str | None = None
    object: Literal["prompt", "kb"] | None = None  # whose rule decides, where a pin is all that changed


class Detect(msgspec.Struct, forbid_unknown_fields=True):
    """A run that is planned: what could its cases show? ``primary`` and ``must_pass`` name the suite's scorers."""

    suite: str
    prompt: str
    cases: int
    primary: list[str] = []
    must_pass: list[str] = []
    clusters: int | None = None
    policy: str | None = None
    alias: str = "production"


class Compare(msgspec.Struct, forbid_unknown_fields=True):
    """Two runs, or two systems of one, to lay side by side."""

    a: str
    b: str
    a_system: str | None = None
    b_system: str | None = None
    level: float = 0.95


class Approve(msgspec.Struct, forbid_unknown_fields=True):
    """A second person's yes to a version becoming an alias."""

    version: int | str
    alias: str = "production"
    reason: str | None = None


class Try(msgspec.Struct, forbid_unknown_fields=True):
    """Replay what one version was asked on another."""

    prompt: str
    against: str = "production"
    since: str = "7d"
    limit: int = 200
    judge: str | None = None


class PushedScore(msgspec.Struct, forbid_unknown_fields=True):
    """One judgement of a request."""

    request_id: str
    name: str
    value: float | None = None
    label: str | None = None
    comment: str | None = None
    correction: str | None = None
    source: Literal["human", "user", "judge", "code", "truth"] = "user"


class PushScores(msgspec.Struct, forbid_unknown_fields=True):
    """Judgements of requests."""

    scores: list[PushedScore]


class CardLabel(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a person says of what a judge judged; ``request_id`` is the judge's call, ``swapped`` the same pair in the
    other order."""

    request_id: str
    label: str
    swapped: str | None = None
    item: str | None = None


class CreateCard(msgspec.Struct, forbid_unknown_fields=True):
    """The evidence of a calibration: a judge of a stored suite, its calls in the log, people's labels."""

    suite_sha256: str
    scorer: str
    labels: list[CardLabel]
    expires: str = "90d"


def schema_of(shape: type[msgspec.Struct]) -> dict[str, Any]:
    """The JSON Schema of a body, for the OpenAPI description; what it refers to is written out in place."""
    (schema,), parts = msgspec.json.schema_components([shape], ref_template="{name}")
    found: dict[str, Any] = _inlined(schema, parts)
    return found


def _inlined(value: Any, parts: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        if "$ref" in value:
            return _inlined(parts[value["$ref"]], parts)
        return {name: _inlined(item, parts) for name, item in value.items()}
    if isinstance(value, list):
        return [_inlined(item, parts) for item in value]
    return value

"""Results in their neutral form: JSON Lines, one row for each item, repeat and scorer of a run, read and written."""

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Literal

import msgspec

from headgate.evals.faults import ResultsFault

Status = Literal["ok", "unscored", "error"]


class Result(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One score. ``cost_usd``, ``latency_ms``, ``output_sha256`` are the answer's, the same on all rows of a cell."""

    run: str
    item: str
    repeat: int = 0
    system: str
    scorer: str
    value: float | None  # None exactly when the status is not ok; never stands for 0
    status: Status
    tags: dict[str, str] = msgspec.field(default_factory=dict)
    cluster: str | None = None
    order: int | None = None  # which side a judge saw first: 0 this system, 1 the other
    cost_usd: Decimal | None = None
    latency_ms: float | None = None
    output_sha256: str | None = None
    reason: str | None = None


def read_results(lines: Iterable[bytes], file: str) -> list[Result]:
    """The rows of a results file; ResultsFault names every bad row as `file:line what`."""
    found: list[Result] = []
    faults: list[str] = []
    decoder = msgspec.json.Decoder(Result)
    for number, line in enumerate(lines, 1):
        try:
            found.append(decoder.decode(line))
        except msgspec.DecodeError as error:
            faults.append(f"{file}:{number} {error}")
    if faults:
        raise ResultsFault(faults)
    return found


def write_results(results: Iterable[Result]) -> Iterator[bytes]:
    """Each row as a line of JSON, keys in their order: the same rows give the same bytes."""
    encoder = msgspec.json.Encoder(decimal_format="string")
    for result in results:
        yield encoder.encode(result) + b"\n"

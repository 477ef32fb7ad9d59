"""The report as JSON and back: full precision, keys in one order, the same bytes for the same report."""

import msgspec

from headgate.core.errors import MalformedRequest
from headgate.evals.report.model import SCHEMA, Report

_encoder = msgspec.json.Encoder(order="deterministic", decimal_format="string")
_decoder = msgspec.json.Decoder(Report)


def json_bytes(report: Report) -> bytes:
    """UTF-8 JSON, indented; figures with all their digits, money as strings."""
    return msgspec.json.format(_encoder.encode(report), indent=2) + b"\n"


def read_report(text: bytes) -> Report:
    """The report that `json_bytes` wrote. Raises MalformedRequest."""
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise MalformedRequest(
            f"This is not a report of the form {SCHEMA}: {error}.", hint="Write one: headgate eval report RUN --json"
        ) from None

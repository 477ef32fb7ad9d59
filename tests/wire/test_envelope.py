"""Our errors in the caller's dialect, and in the official clients' exceptions."""

import json

import pytest

from headgate.core import errors
from headgate.wire.envelope import error_body, error_message

NO_ROUTE = errors.NotFound('no route for model "o5".', code="no_route", hint="File: headgate.toml")


def test_openai_envelope_names_us_and_ends_with_the_hint() -> None:
    assert json.loads(error_body(NO_ROUTE, "openai", "0198"))["error"] == {
        "message": 'headgate: no route for model "o5". File: headgate.toml',
        "type": "headgate_error",
        "param": None,
        "code": "no_route",
        "request_id": "0198",
    }


def test_anthropic_envelope_has_the_standard_type_of_the_status() -> None:
    assert json.loads(error_body(NO_ROUTE, "anthropic", "0198")) == {
        "type": "error",
        "error": {
            "type": "not_found_error",
            "message": 'headgate: no route for model "o5". File: headgate.toml',
            "code": "no_route",
        },
        "request_id": "0198",
    }


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (errors.MalformedRequest("x"), "invalid_request_error"),
        (errors.KeyRefused("x"), "authentication_error"),
        (errors.Forbidden("x"), "permission_error"),
        (errors.BodyTooLarge("x"), "request_too_large"),
        (errors.UpstreamUnreachable("x"), "api_error"),
        (errors.UpstreamTimeout("x"), "timeout_error"),
        (errors.Unavailable("x"), "overloaded_error"),
        (errors.HeadgateError("x"), "api_error"),
    ],
)
def test_each_status_has_its_anthropic_type(error: errors.HeadgateError, kind: str) -> None:
    assert json.loads(error_body(error, "anthropic", ""))["error"]["type"] == kind


def test_message_is_prefixed_once_bounded_and_writable() -> None:
    assert error_message(errors.NotFound("headgate: gone.")) == "headgate: gone."
    long = error_message(errors.MalformedRequest("\ud800" + "x" * 10_000, hint="Send less."))
    assert long.startswith("headgate: ") and long.endswith("… Send less.") and len(long) < 2100
    assert json.loads(error_body(errors.MalformedRequest("\ud800\0"), "openai", "r"))

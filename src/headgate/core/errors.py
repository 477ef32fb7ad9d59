"""The error tree.

HeadgateError                 anything we refuse or fail at, with a sentence and a hint
├── ConfigurationError        headgate.toml, a flag or the environment is wrong (exit code 2)
├── HomeError                 the data directory cannot be used (exit code 2)
├── RequestError              a client's request cannot be served; shaped in the caller's dialect
│   ├── MalformedRequest      400  JSON, header or parameter is unreadable
│   ├── KeyRefused            401  missing, wrong, revoked or expired Headgate key
│   ├── Forbidden             403  the key may not do this; foreign origin
│   ├── NotFound              404  no such object, or no route for the model
│   ├── BodyTooLarge          413
│   ├── UpstreamUnreachable   502  refused, reset, or broken before an answer
│   ├── Unavailable           503  a part of Headgate is not ready
│   │   ├── Overloaded        503  as many requests as allowed are being served
│   │   ├── DiskFull          503  requests could not be logged, and are therefore refused
│   │   └── BodyNotHeld       503  neither disk nor memory has room for a large body
│   └── UpstreamTimeout       504
└── QueryRefused              400  a SQL text outside the sandbox
"""


class HeadgateError(Exception):
    """Something we refuse or fail at: ``str(error)`` says what happened, ``hint`` what to do."""

    code = "internal"
    status = 500
    hint = ""
    retry_after_s: int | None = None  # when the same request may succeed; said in the answer

    def __init__(self, message: str, *, code: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code
        if hint is not None:
            self.hint = hint

    @property
    def sentence(self) -> str:
        """What happened and what to do, in one line."""
        return f"{self} {self.hint}".strip()


class ConfigurationError(HeadgateError):
    """The configuration file, a flag or the environment is wrong."""

    code = "configuration"


class HomeError(HeadgateError):
    """The data directory cannot be used: missing rights, open to others, or held by another server."""

    code = "home"


class RequestError(HeadgateError):
    """A client's request cannot be served."""


class MalformedRequest(RequestError):
    """JSON, a header or a parameter of the request is unreadable or not allowed."""

    code, status = "malformed_request", 400


class KeyRefused(RequestError):
    """A Headgate key is missing, unknown, revoked or expired."""

    code, status = "key_refused", 401


class Forbidden(RequestError):
    """The key may not do this, or the request comes from a foreign origin."""

    code, status = "forbidden", 403


class NotFound(RequestError):
    """No such object, path or route."""

    code, status = "not_found", 404


class BodyTooLarge(RequestError):
    """The request body is over the configured size."""

    code, status = "body_too_large", 413


class UpstreamUnreachable(RequestError):
    """The upstream could not be reached, or broke off before it answered."""

    code, status = "upstream_unreachable", 502


class Unavailable(RequestError):
    """A part of Headgate is not ready."""

    code, status = "unavailable", 503


class Overloaded(Unavailable):
    """As many requests as allowed are being served already."""

    code = "overloaded"
    retry_after_s = 1


class DiskFull(Unavailable):
    """There is no room for a record, and the settings say that nothing goes unrecorded."""

    code = "disk_full"
    retry_after_s = 5


class BodyNotHeld(Unavailable):
    """Neither the disk nor the memory set aside for it has room for a large body."""

    code = "body_not_held"
    retry_after_s = 5


class UpstreamTimeout(RequestError):
    """The upstream did not connect or answer within its deadline."""

    code, status = "upstream_timeout", 504


class QueryRefused(HeadgateError):
    """A SQL text that the read-only sandbox does not run."""

    code, status = "query_refused", 400

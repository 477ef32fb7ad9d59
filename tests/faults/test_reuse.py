"""Kept connections whose upstream closes them when it likes, and upstreams that cannot be reached in time."""

import contextlib
import random
import re
import socket
from collections import Counter
from collections.abc import Callable

import pytest

from headgate.core.settings import Settings, Timeout, Upstream
from support.client import call, read_answer, request_bytes
from support.settings import settings_for
from support.upstream import Script, ScriptedUpstream, Seen, answer, stream
from support.worker import WorkerProcess

NAME = re.compile(rb"call-\d+")


def closing_at_random(numbers: random.Random) -> Callable[[Seen], Script]:
    """Answers with the call's name, then keeps the connection or closes it, at once or a moment later."""

    def reply(seen: Seen) -> Script:
        found = NAME.search(seen.body)
        assert found is not None
        delay_s = numbers.choice((0.0, 0.0005, 0.001, 0.002, 0.004))
        # Closed with the next request unread, it is a reset. (One right behind an answer could destroy the answer.)
        endings: list[Script] = [[], [delay_s, "close"]]
        body = b'{"name":"%b"}' % found[0]
        whole = stream(b"data: %b\n\n" % body, b"data: [DONE]\n\n") if b'"stream":true' in seen.body else answer(body)
        return [*whole, *numbers.choice(endings)]

    return reply


@pytest.mark.slow
@pytest.mark.parametrize("seed", [11, 12, 13])
def test_of_a_thousand_posts_in_a_row_to_an_upstream_that_closes_idle_connections_none_fails_or_is_sent_twice(
    worker: WorkerProcess, upstream: ScriptedUpstream, seed: int, record_property: Callable[[str, object], None]
) -> None:
    numbers = random.Random(seed)
    upstream.reply_with = closing_at_random(numbers)
    before = len(worker.entries()[1])
    sent = [b'{"model":"call-%d"%b}' % (n, b',"stream":true' if n % 3 == 0 else b"") for n in range(1000)]
    failures = 0
    with worker.connect() as connection:
        for number, body in enumerate(sent):
            connection.sendall(request_bytes(body=body))
            got = read_answer(connection)
            failures += (got.status, got.is_whole, b'"call-%d"' % number in got.body) != (200, True, True)
    finals = worker.recorded(before + 1000)[before:]
    retried = sum(len(final.attempts) - 1 for final in finals)
    seen = Counter(NAME.findall(b" ".join(one.body for one in upstream.seen)))
    figure = (
        f"{failures} of 1,000 failed, {retried} asked again on a fresh connection, {max(seen.values())} the most sent"
    )
    record_property("figure", figure)
    print(figure)
    assert failures == 0
    assert seen == Counter(b"call-%d" % number for number in range(1000))
    assert {final.outcome for final in finals} == {"ok"}


def test_an_upstream_that_accepts_no_connection_has_a_deadline_and_an_error_of_its_own(
    start_worker: Callable[[Settings], WorkerProcess],
) -> None:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = listener.getsockname()[1]
        for _ in range(4):  # its queue is full: the kernel answers no further connection
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        base_url = f"http://127.0.0.1:{port}/v1"
        one = Upstream(name="main", kind="openai", base_url=base_url, timeout=Timeout(connect_s=0.3, first_byte_s=5.0))
        worker = start_worker(settings_for(one))
        got = call(worker.port, request_bytes())
    assert (got.status, got.error["code"]) == (504, "upstream_connect_timeout")
    assert "accepted no connection within 0.3 s" in got.error["message"]
    (final,) = worker.recorded()
    assert (final.outcome, final.error_type) == ("timeout", "upstream_connect_timeout")
    assert [attempt.error_type for attempt in final.attempts] == ["connect_timeout"]

"""Measures how many exchanges a CPU second of the control process stores: spool to priced rows in the log.

    python benchmarks/ingest.py [--exchanges 20000]

Writes the exchanges the way a gateway worker does (a start and a final record, 1 KB of request and of answer), then
stores them with the real price list. CPU time is that of this process with all its threads, DuckDB's included.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from driver import chat_body
from headgate.control.ingest import Ingest
from headgate.control.pricing_step import pricer
from headgate.core.ids import now_us, uuid7
from headgate.pricing.catalog import Catalog
from headgate.spool.record import Attempt, FinalRecord, StartRecord
from headgate.spool.writer import SpoolWriter
from headgate.store.log import Log

_GOAL_PER_S = 12_000
_MODELS = ("gpt-4o-mini", "gpt-4o-mini", "gpt-4o-mini", "gpt-4o", "gpt-5-mini")
_USAGE = (
    '{"prompt_tokens":%d,"completion_tokens":87,"total_tokens":%d,"prompt_tokens_details":{"cached_tokens":64,'
    '"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0}}'
)
_ANSWER = b'{"choices":[{"message":{"role":"assistant","content":"%b"}}]}' % (b"All is well. " * 72)


def main() -> int:
    """Write, store, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exchanges", type=int, default=20_000)
    exchanges = parser.parse_args().exchanges
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        _spool(home, exchanges)
        log = Log.open(home)
        ingest = Ingest(home, log, pricer(Catalog(prices=())))
        ingest.step()  # the price list and the SQL are read on first use
        first = ingest.stored
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        while ingest.step():
            pass
        wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
        stored = int(log.query("SELECT count(*) FROM requests").rows[0][0])
        priced = int(log.query("SELECT count(cost_usd) FROM requests").rows[0][0])
        log.close()
    measured = ingest.stored - first
    print(
        f"{measured} exchanges stored in {cpu_s:.2f} CPU s ({wall_s:.2f} s): {measured / cpu_s:.0f} per CPU second, "
        f"{cpu_s / measured * 1e6:.1f} us each; goal {_GOAL_PER_S}."
    )
    print(f"Rows {stored} of {exchanges} written, {priced} of them priced.")
    return 0 if stored == exchanges else 1


def _spool(home: Path, exchanges: int) -> None:
    (home / "spool").mkdir()
    writer = SpoolWriter(home / "spool", worker=0)
    request = chat_body(_MODELS[0], 1024, is_stream=False)
    for number in range(exchanges):
        start = _start(writer.next_sequence(), _MODELS[number % len(_MODELS)])
        writer.append_start(start)
        writer.append_final(_final(start, number, len(request)), request, b"", [_ANSWER])
    writer.close()


def _start(sequence: int, model: str) -> StartRecord:
    at_us = now_us()
    return StartRecord(
        request_id=uuid7(at_us),
        started_at_us=at_us,
        sequence=sequence,
        trace_id=f"{sequence:032x}",
        user_id=f"user-{sequence % 500}",
        key_id="key_bench",
        client="bench/1",
        endpoint="openai.chat",
        path="/v1/chat/completions",
        model_requested=model,
        provider="openai",
        upstream="mock",
        route="gpt-*",
    )


def _final(start: StartRecord, number: int, request_bytes: int) -> FinalRecord:
    prompt_tokens = 100 + number % 900
    return FinalRecord(
        request_id=start.request_id,
        started_at_us=start.started_at_us,
        sequence=start.sequence,
        trace_id=start.trace_id,
        user_id=start.user_id,
        key_id=start.key_id,
        client=start.client,
        endpoint=start.endpoint,
        path=start.path,
        model_requested=start.model_requested,
        provider=start.provider,
        upstream=start.upstream,
        route=start.route,
        model=start.model_requested,
        upstream_request_id=f"req_{number:032x}",
        response_id=f"chatcmpl-{number:024x}",
        service_tier="default",
        status=200,
        finish_reason="stop",
        attempts=[Attempt(upstream="mock", model=start.model_requested, status=200, latency_us=900)],
        usage_raw=_USAGE % (prompt_tokens, prompt_tokens + 87),
        output_chars=936,
        latency_us=1000,
        ttft_us=None,
        overhead_us=100,
        upstream_us=900,
        request_bytes=request_bytes,
        response_bytes=len(_ANSWER),
        request_content_type="application/json",
        response_content_type="application/json",
    )


if __name__ == "__main__":
    sys.exit(main())

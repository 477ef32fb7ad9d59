"""Runs TensorZero's own HTTP gateway from its Python wheel and writes its address to a file.

Run by the interpreter of the environment TensorZero is installed in: `tensorzero_run.py CONFIG ADDRESS_FILE`.
"""

import signal
import sys
from pathlib import Path

import tensorzero  # type: ignore[import-not-found]  # only there

gateway = tensorzero._start_http_gateway(
    config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False
)
Path(sys.argv[2]).write_text(gateway.base_url)
signal.pause()

"""Commands run in this process: the start of an interpreter takes longer than most commands."""

import io
import os
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from headgate.cli.main import main
from support.server import clean_environment


def run_cli(*arguments: str, cwd: Path, environ: Mapping[str, str] | None = None) -> "CompletedProcess[str]":
    """Run one command to its end, in a directory and with an environment of its own. For what is about the process
    itself (its signals, its pipes) there is `support.server.headgate_command`.
    """
    out, err = _Text(), _Text()
    with pytest.MonkeyPatch.context() as patch, open(os.devnull) as nothing, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(cwd)
        wanted = clean_environment(environ)
        for name in set(os.environ) - set(wanted):
            patch.delenv(name)
        for name, value in wanted.items():
            patch.setenv(name, value)
        patch.setattr(sys, "stdin", nothing)
        patch.setattr(sys, "excepthook", sys.excepthook)
        code = main(arguments)
    return CompletedProcess(arguments, code, out.text(), err.text())


class _Text(io.TextIOWrapper):
    """A stream of a process that a test reads once it has ended."""

    def __init__(self) -> None:
        self._bytes = io.BytesIO()
        super().__init__(self._bytes, "utf-8", newline="\n", write_through=True)

    def text(self) -> str:
        self.flush()
        return self._bytes.getvalue().decode()

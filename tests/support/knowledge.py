"""Knowledge bases for tests: versions made of real files, and the retrieval process on its socket."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from headgate.control import kb_build
from headgate.control.kb_build import Making
from headgate.core.home import Home
from headgate.retrieval.model import Chunker, KbSettings, Origin, text_sha256
from headgate.retrieval.sources import SourceText

HANDBOOK = {
    "refunds.md": "# Refunds\n\n## Time\nA refund takes five working days.\n\n## Vouchers\nVouchers stay vouchers.\n",
    "delivery.md": "---\ntopic: delivery\n---\n# Delivery\nParcels arrive in three days. Express costs 6.90 euros.\n",
    "hours.txt": "Support answers from 8 to 18 o'clock on working days.\n",
}
"""A small knowledge base of four chunks."""


def making(files: Mapping[str, str], name: str = "handbook", chunker: Chunker | None = None) -> Making:
    """What a push of these files makes, with the built-in embedder."""
    texts = [SourceText(path=path, text=text, sha256=text_sha256(text)) for path, text in files.items()]
    settings = KbSettings(chunk=chunker or Chunker())
    return Making(name=name, settings=settings, made=kb_build.cut(texts, settings), origin=Origin(), kb=None)


def made_version(home: Path, files: Mapping[str, str] = HANDBOOK, name: str = "handbook") -> str:
    """The manifest hash of a finished version below ``home``."""
    return kb_build.build(home, making(files, name))


class RetrievalProcess:
    """`headgate.retrieval.main` as the supervisor starts it."""

    def __init__(self, home: Home) -> None:
        home.prepare()
        (home.run / "retrieval.sock").unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(home.socket_address("retrieval"))
        listener.listen(128)
        self._listener = listener
        listener.set_inheritable(True)
        self.home = home
        self.process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        command = ["-m", "headgate.retrieval.main", "--home", str(self.home.path), "--fd", str(self._listener.fileno())]
        return subprocess.Popen(
            [sys.executable, *command],
            pass_fds=(self._listener.fileno(),),
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )

    def restart(self) -> None:
        """Another process on the same socket, as after a crash."""
        self.process.kill()
        self.process.wait()
        self.process = self._start()

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        self._listener.close()


@contextmanager
def retrieval(home: Home) -> Iterator[RetrievalProcess]:
    """A retrieval process for a home, ended with the block."""
    process = RetrievalProcess(home)
    try:
        yield process
    finally:
        process.close()

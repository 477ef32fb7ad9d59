"""Output that nobody may be reading: written by a thread, so that a full pipe or a gone reader holds up nothing."""

import contextlib
import logging
import os
import queue
import select
import threading

STANDARD_OUTPUT = 1
STANDARD_ERROR = 2
_MAX_WAITING = 1000
_FLUSH_S = 1.0


class Terminal:
    """Lines to a descriptor, best effort: what finds no room is left out and counted; no call blocks or raises."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._waiting: queue.Queue[bytes | threading.Event] = queue.Queue(_MAX_WAITING)
        self.left_out = 0
        self._is_gone = False
        threading.Thread(target=self._write_all, name=f"headgate-output-{descriptor}", daemon=True).start()

    def write(self, line: str) -> None:
        """Write a line, some time soon."""
        try:
            self._waiting.put_nowait(line.encode("utf-8", "backslashreplace") + b"\n")
        except queue.Full:
            self.left_out += 1

    def flush(self, timeout_s: float = _FLUSH_S) -> bool:
        """Wait until everything is written, not longer than ``timeout_s``; False: something is not."""
        written = threading.Event()
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(written)
        return written.wait(timeout_s) and not self._is_gone

    def _write_all(self) -> None:
        while True:
            piece = self._waiting.get()
            if isinstance(piece, threading.Event):
                piece.set()
            elif not self._is_gone:
                try:
                    write_fully(self._descriptor, piece)
                except OSError:
                    self._is_gone = True
                    self.left_out += 1
            else:
                self.left_out += 1


class TerminalHandler(logging.Handler):
    """Log records to standard error without ever waiting for its reader."""

    def __init__(self) -> None:
        super().__init__()
        self.terminal = Terminal(STANDARD_ERROR)

    def emit(self, record: logging.LogRecord) -> None:
        """One record, as a line or several."""
        self.terminal.write(self.format(record))

    def flush(self) -> None:
        """Wait a moment for what is not written yet."""
        self.terminal.flush()


def write_fully(descriptor: int, data: bytes) -> None:
    """Blocking: write all of it, also where somebody made the descriptor non-blocking. Raises OSError."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            select.select([], [descriptor], [])

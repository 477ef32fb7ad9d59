"""A server started from an installation of its own instead of this environment."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from support.server import Lines, RunningServer, clean_environment


class InstalledServer(RunningServer):
    """`headgate serve` of the installation at ``prefix``, run in ``directory``."""

    def __init__(
        self, prefix: Path, directory: Path, *, arguments: Sequence[str] = (), environ: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(directory, arguments=arguments, environ=environ)
        self._prefix = prefix

    def launch(self) -> None:
        """Start the process and return at once."""
        arguments = ["serve", "--home", str(self.home), "--port", "0", *self._arguments]
        # PYTHONPATH would bring the source of this checkout back in.
        environ = {name: value for name, value in self._environ.items() if not name.startswith("PYTHON")}
        self.process = subprocess.Popen(
            [self._prefix / "bin/headgate", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.directory,
            env=environ,
            start_new_session=True,
        )
        assert self.process.stdout is not None and self.process.stderr is not None
        self.out, self.err = Lines(self.process.stdout), Lines(self.process.stderr)


def run_installed(
    prefix: Path, *arguments: str, directory: Path, environ: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """One command of the installation, to its end."""
    return subprocess.run(
        [prefix / "bin/headgate", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=directory,
        env=clean_environment(environ),
        timeout=60,
        check=False,
    )

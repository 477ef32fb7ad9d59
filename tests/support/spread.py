"""A plugin of pytest-xdist: which process of a run has which tests. A file's tests stay together, and so do the files
of a folder that share what takes seconds to make.
"""

from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

TOGETHER = ("tests/models/", "tests/sdk/", "tests/stats/")
"""Two servers with what they serve, and the libraries that our statistics are compared with."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> "Spread | None":
    """Our own way of `--dist loadfile`."""
    return Spread(config, log) if config.getvalue("dist") == "loadfile" else None


class Spread(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """By file, but for the folders that stay together."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return next((folder for folder in TOGETHER if file.startswith(folder)), file)

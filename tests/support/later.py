"""Modules that take a second to import, imported at their first use: each process collects all tests and runs some."""

import gc
import sys
from importlib import import_module
from typing import Any


class Later:
    """Stands for the module of that name. Where its types are needed, import it under TYPE_CHECKING besides."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # pytest asks everything in a file whether it is a fixture
            raise AttributeError(name)
        is_new = self._name not in sys.modules
        module = import_module(self._name)  # waits where another thread is importing it
        if is_new:
            gc.freeze()  # what was imported stays: statsmodels asks for a collection in each Holm correction
        return getattr(module, name)

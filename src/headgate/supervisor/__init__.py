"""The process tree of one server."""

from headgate.supervisor.tree import ServeOptions, run

__all__ = ["ServeOptions", "run"]

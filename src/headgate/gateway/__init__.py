"""The data plane: a worker process that relays calls and writes what happened to its spool."""

"""What a process that runs a model may not do: take all memory, write files, reach the network, keep new rights."""

import ctypes
import os
import resource

_CLONE_NEWUSER, _CLONE_NEWNET = 0x1000_0000, 0x4000_0000
_PR_SET_NO_NEW_PRIVS = 38
_FILES = 256


def confine(*, memory_mb: int, file_bytes: int = 0) -> bool:
    """Limit this process for good, before the model's file is read; whether the network could be taken away too.

    ``file_bytes``: the largest file it may write. A user namespace is needed to take the network away, which not
    every machine grants; the process then still holds no socket but the one it was handed, and no secret.
    """
    size = memory_mb << 20
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_FILES, _FILES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    return bool(libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0)

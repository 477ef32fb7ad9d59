"""A disk that fails under the log alone: writes and syncs of requests.duckdb* end with an error while a test says so.

A small library, compiled here and loaded before libc's, stands in for the disk: DuckDB itself and all of Headgate are
the real ones.
"""

import errno
import mmap
import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

NO_COMPILER = "not run: no C compiler"
_FIELDS = struct.Struct("=iii")  # calls that still succeed, error number (0: none), calls that failed
_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct { int left, error, failed; } *control;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FAILING_DISK");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *found = mmap(0, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (found != MAP_FAILED) control = found;
}

static int fails(int fd) {
    char link[32], name[4096];
    if (!control || !__atomic_load_n(&control->error, __ATOMIC_SEQ_CST)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, name, sizeof name - 1);
    if (length < 0) return 0;
    name[length] = 0;
    if (!strstr(name, "/requests.duckdb")) return 0;
    if (__atomic_fetch_sub(&control->left, 1, __ATOMIC_SEQ_CST) > 0) return 0;
    __atomic_fetch_add(&control->failed, 1, __ATOMIC_SEQ_CST);
    errno = control->error;
    return 1;
}

#define STAND_IN(type, name, parameters, ...)                                   \
    type name parameters {                                                      \
        static type (*real) parameters;                                         \
        if (!real) real = (type (*) parameters) dlsym(RTLD_NEXT, #name);        \
        return fails(fd) ? -1 : real(__VA_ARGS__);                              \
    }

STAND_IN(ssize_t, write, (int fd, const void *data, size_t size), fd, data, size)
STAND_IN(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at), fd, data, size, at)
STAND_IN(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t at), fd, data, size, at)
STAND_IN(int, fsync, (int fd), fd)
STAND_IN(int, fdatasync, (int fd), fd)
STAND_IN(int, ftruncate, (int fd, off_t size), fd, size)
STAND_IN(int, ftruncate64, (int fd, off64_t size), fd, size)
"""

ERRORS = (errno.EIO, errno.ENOSPC)


class FailingDisk:
    """``environ``: of the processes it is under. Made by ``failing_disk``."""

    def __init__(self, library: Path, control: Path) -> None:
        control.write_bytes(bytes(_FIELDS.size))
        with control.open("r+b") as file:
            self._control = mmap.mmap(file.fileno(), _FIELDS.size)
        self.environ: Mapping[str, str] = {"LD_PRELOAD": str(library), "FAILING_DISK": str(control)}

    def break_after(self, calls: int, error: int) -> None:
        """Have every write and sync fail once so many more have succeeded."""
        self._control[:] = _FIELDS.pack(calls, error, 0)

    def mend(self) -> None:
        """Have all of them succeed again."""
        self._control[4:8] = bytes(4)

    @property
    def failed(self) -> int:
        """How many calls have failed since it broke."""
        return int(_FIELDS.unpack(self._control[:])[2])


def failing_disk(directory: Path) -> FailingDisk | None:
    """Compile it into ``directory``; None where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    directory.mkdir(parents=True, exist_ok=True)
    source, library = directory / "failing_disk.c", directory / "failing_disk.so"
    source.write_text(_SOURCE)
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return FailingDisk(library, directory / "failing_disk.control")

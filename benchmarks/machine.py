"""What the kernel says of processes and cores: CPU time, memory, where they may run. Linux only."""

import os
import platform
import shutil
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MEASURED_CORE = 0
LOAD_CORE = 1
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_CPUCLOCK_SCHED = 2


def cpu_s(pid: int) -> float:
    """User and system CPU time of a process with all its threads, dead ones included; 0 once it is gone."""
    clock = (~pid << 3) | _CPUCLOCK_SCHED  # what clock_getcpuclockid(3) returns
    try:
        return time.clock_gettime(clock)
    except OSError:
        return 0.0


def cpu_of(pids: Iterable[int]) -> float:
    """CPU seconds of several processes."""
    return sum(cpu_s(pid) for pid in pids)


def tree(pid: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        waiting += children.get(one, [])
    return found


def command_line(pid: int) -> str:
    """The arguments of a process; empty once gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def pin(pid: int, core: int) -> None:
    """Keep a process with all its threads on one core; threads started later inherit it."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {core})


def prefer(pid: int) -> bool:
    """Let neighbours on this machine disturb a process less (needs root); False: not allowed."""
    try:
        Path(f"/proc/{pid}/autogroup").write_text("-15")
    except OSError:
        return False
    return True


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Resident memory of one process in MiB."""

    rss: float
    private: float  # anonymous pages: what is its own and must stay in memory


def memory_of(pid: int) -> Memory:
    """What a process holds in memory now."""
    fields = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("VmRSS", "RssAnon"):
            fields[name] = int(value.split()[0]) / 1024
    return Memory(rss=fields["VmRSS"], private=fields["RssAnon"])


def shared_out_mib(pids: Iterable[int]) -> float:
    """Memory of several processes in MiB, pages they share counted once (PSS)."""
    total_kib = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total_kib += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total_kib / 1024


def core_busy_s(core: int) -> float:
    """Seconds a core has been busy since boot, with what the host took away from this guest."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith(f"cpu{core} "):
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, line.split()[1:9])
            return (user + nice + system + irq + softirq + steal) / _TICKS_PER_S
    raise SystemExit(f"core {core} is not there: the benchmark needs two cores")


def check() -> None:
    """Refuse a machine this cannot be measured on."""
    if platform.system() != "Linux":
        raise SystemExit("The benchmark reads /proc and pins processes to cores: it needs Linux.")
    if not {MEASURED_CORE, LOAD_CORE} <= os.sched_getaffinity(0):
        raise SystemExit(f"The benchmark needs the cores {MEASURED_CORE} and {LOAD_CORE}.")
    if shutil.which("gcc") is None:
        raise SystemExit("The benchmark compiles its upstream and its driver: install gcc.")


def describe() -> str:
    """The machine in one line."""
    said = dict(
        (name.strip(), value.strip())
        for name, _, value in (line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines())
    )
    kind = "virtual cores" if "hypervisor" in said.get("flags", "").split() else "cores"
    model = said.get("model name", platform.machine())
    family = f" (family {said['cpu family']}, model {said['model']})" if "cpu family" in said else ""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return (
        f"{os.cpu_count()} {kind}, {model}{family}, {memory_gib:.0f} GiB, Linux {platform.release()}, "
        f"Python {' '.join(sys.version.split())}"
    )

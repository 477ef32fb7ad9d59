"""How much memory a process takes, from the kernel's books."""


def resident_bytes(pid: int) -> int:
    """Resident memory of one process, files it has mapped included."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * 4096


def most_resident_bytes(pid: int) -> int:
    """The most that one process has ever had resident."""
    with open(f"/proc/{pid}/status") as file:
        return int(next(line.split()[1] for line in file if line.startswith("VmHWM:"))) * 1024


class Growth:
    """The most that a process has grown since now, at the moments it was looked at."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._before = resident_bytes(pid)
        self.most = 0

    def look(self) -> int:
        """Look now; the most so far."""
        self.most = max(self.most, resident_bytes(self._pid) - self._before)
        return self.most

"""Memory and room on disks, and how amounts of them are written."""

import os
import shutil

KB, MB, GB = 1000, 1000**2, 1000**3


def available() -> int | None:
    """Bytes of memory that programs can have without swapping; None unknown."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                name, _, value = line.partition(":")
                if name == "MemAvailable":
                    return int(value.split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        pass  # Another system than Linux.
    return None


def room_for(path: str) -> int:
    """Bytes that can be written to the folder of a file."""
    return shutil.disk_usage(os.path.dirname(path) or ".").free


def amount(nbytes: float) -> str:
    """A number of bytes for people: `1.3 MB`."""
    for unit, name in ((GB, "GB"), (MB, "MB"), (KB, "kB")):
        if nbytes >= unit:
            return f"{nbytes / unit:.1f} {name}"
    return f"{nbytes:.0f} bytes"

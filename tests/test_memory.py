import ctypes
import subprocess
import sys

import pytest

from outskirts.memory import keep_freed_memory

#: Bytes that the C library maps for one block of 32 MB by itself, and bytes by which its heap is larger once the block
#: is freed, as mallinfo2(3) counts them. Page faults would tell the same, but huge pages make them few either way.
BYTES = """
import ctypes, torch
from outskirts.memory import keep_freed_memory

class Counts(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
                "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]

counts = ctypes.CDLL(None).mallinfo2
counts.restype = Counts
if {keep}: assert keep_freed_memory()
before = counts()
block = torch.zeros(2**23)
during = counts()
del block
print(during.hblkhd - before.hblkhd, counts().arena - before.arena)
"""


def counted(keep: bool) -> list[int]:
    command = [sys.executable, "-c", BYTES.format(keep=keep)]
    return [int(n) for n in subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()]


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="only glibc 2.33 or newer counts"
)
def test_large_blocks_are_reused_rather_than_mapped_anew():
    mapped, kept = counted(keep=False)
    assert mapped >= 2**25 and kept < 2**24
    mapped, kept = counted(keep=True)
    # A little of the block may have been free before.
    assert mapped == 0 and kept > 2**24


def test_another_system_is_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()

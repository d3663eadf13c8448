import platform
import subprocess
import sys

import pytest

from outskirts.memory import keep_freed_memory

FAULTS = """
import resource, torch
from outskirts.memory import keep_freed_memory
if {keep}: assert keep_freed_memory()
torch.set_num_threads(1)
for _ in range(40): torch.zeros(2**23)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is asked")
def test_large_blocks_are_reused_rather_than_mapped_anew():
    def faults(keep: bool) -> int:
        command = [sys.executable, "-c", FAULTS.format(keep=keep)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    # Forty blocks of 32 MB are 327,680 pages of 4 kB if each is mapped anew, and far fewer if one is reused; with
    # huge pages both are few, so only the order is certain.
    assert faults(True) < faults(False)


def test_another_system_is_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()

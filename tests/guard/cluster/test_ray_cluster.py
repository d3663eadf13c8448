"""How a cluster is shared among workers."""

import pytest

from outskirts.errors import OutskirtsError
from outskirts.guard.cluster.ray_cluster import Share, shared

CORES = [{"CPU": 4.0}, {"CPU": 12.0, "memory": 1e9}]
GPUS = [{"CPU": 2.0}, {"CPU": 16.0, "GPU": 2.0}, {"CPU": 8.0, "GPU": 1.0}]


@pytest.mark.parametrize(
    ("nodes", "workers", "device", "share"),
    [
        (CORES, None, "auto", Share(16, 1, 0, "cpu", 16)),
        (CORES, 2, "cpu", Share(2, 4, 0, "cpu", 4)),
        (CORES, 20, "auto", Share(20, 1, 0, "cpu", 16)),
        (CORES, None, "mps", Share(1, 4, 0, "mps", 4)),
        (GPUS, None, "auto", Share(3, 8, 1, "cuda", 3)),
        (GPUS, 5, "cuda", Share(5, 4, 0.5, "cuda", 6)),
        (GPUS, 1, "auto", Share(1, 8, 1, "cuda", 3)),
        (GPUS, None, "cpu", Share(26, 1, 0, "cpu", 26)),
        ([{"CPU": 0.0}, {"CPU": 2.0}], None, "auto", Share(2, 1, 0, "cpu", 2)),
    ],
)
def test_each_worker_has_a_gpu_or_a_core(nodes, workers, device, share):
    assert shared(nodes, workers, device) == share


def test_clusters_without_what_is_asked_for_are_refused():
    with pytest.raises(OutskirtsError, match="has no GPU; choose another device"):
        shared(CORES, None, "cuda")
    with pytest.raises(OutskirtsError, match="no machine with a free core"):
        shared([{"CPU": 0.0}], None, "auto")

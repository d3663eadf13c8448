"""Averages between lines; that they survive an interruption is tested with the loop."""

import torch

from outskirts.training.log import Log


def test_the_log_averages_each_scalar_over_the_steps_that_have_it(tmp_path):
    log = Log(tmp_path / "metrics.jsonl", every=3)
    log.add({"loss": torch.tensor(1.0), "rare": torch.tensor(5)})
    log.add({"loss": torch.tensor(2.0, dtype=torch.float64)})
    log.add({"loss": torch.tensor(6.0, requires_grad=True), "rare": torch.tensor(8)})
    assert log.means() == {"loss": 3.0, "rare": 6.5}
    log.add({"late": torch.tensor(4.0)})
    assert log.means() == {"late": 4.0}

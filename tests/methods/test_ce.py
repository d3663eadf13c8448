import pytest
import torch

from outskirts.methods.ce import CE, CEConfig


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_mean_negative_log_likelihood(make, batch, smoothing):
    method = make(CE, CEConfig(label_smoothing=smoothing)).eval()
    with torch.no_grad():
        logs = method.classifier(batch.images).log_softmax(1)
    rows = [-(1 - smoothing) * row[label] - smoothing * row.mean() for row, label in zip(logs, batch.labels.tolist())]
    scalars = method.step(batch)
    assert scalars.keys() == {"loss"}
    torch.testing.assert_close(scalars["loss"].detach(), torch.stack(rows).mean())

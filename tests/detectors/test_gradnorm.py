import torch
from torch.nn.functional import cross_entropy

from outskirts import Outputs
from outskirts.detectors import GradNorm


def test_vectors(toy, queries):
    torch.testing.assert_close(GradNorm().score(queries), -toy["gradnorm"])


def test_equals_the_gradient_an_image_at_a_time():
    g = torch.Generator().manual_seed(0)
    features, bias = torch.randn(5, 7, generator=g).double(), torch.randn(4, generator=g).double()
    weight = torch.randn(4, 7, generator=g).double().requires_grad_()
    norms = []
    for row in features:
        loss = cross_entropy((weight @ row + bias)[None], torch.ones(1, 4).double())
        norms.append(torch.autograd.grad(loss, weight)[0].abs().sum())
    logits = features @ weight.detach().T + bias
    found = GradNorm().score(Outputs(features, logits, None, (weight.detach(), bias)))
    torch.testing.assert_close(found, -torch.stack(norms))

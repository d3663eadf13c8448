"""Classification heads: a linear layer on the features, or class prototypes on the hypersphere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..devices import full_precision
from ..errors import OutskirtsError

__all__ = [
    "CarriedHead",
    "DividedHead",
    "Head",
    "LinearHead",
    "ModuleHead",
    "NoHead",
    "PrototypeHead",
    "RotationHead",
    "Space",
    "Standardize",
    "UnitInTraining",
    "UnitLength",
    "both_sides",
    "projector",
    "turned",
]

#: Which features detectors see; see `outskirts.models.classifier.Classifier.space`.
Space = Literal["head", "raw", "projection"]


class Head(NamedTuple):
    """The linear head, ``logits = features @ weight.T + bias``: weight [C, D] and bias [C]."""

    weight: Tensor
    bias: Tensor


class LinearHead(nn.Module):
    """``logits = linear(inputs(features))``.

    `inputs` is the identity for ordinary classifiers. Keeping it apart from the linear layer exposes both the
    raw features and what the weights are applied to, between which post-hoc scores must choose.

    Arguments:
        linear: The last layer, D → C.
        inputs: A map of the features, [B, D] → [B, D].
        ood_head: Tells training images from outliers, if the method trains such a network; see
            `outskirts.models.ood_head`.
    """

    def __init__(self, linear: nn.Linear, inputs: nn.Module | None = None, ood_head: nn.Module | None = None) -> None:
        super().__init__()
        self.inputs = inputs or nn.Identity()
        self.linear = linear
        self.ood_head = ood_head

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(self.inputs(features))

    def space(self, features: Tensor, name: Space) -> tuple[Tensor, Head]:
        """Features as detectors are to see them, and the linear layer; see `outskirts.models.classifier.Classifier`."""
        weight = self.linear.weight.detach()
        bias = weight.new_zeros(len(weight)) if self.linear.bias is None else self.linear.bias.detach()
        return self.inputs(features) if name == "head" else features, Head(weight, bias)


class RotationHead(LinearHead):
    """A linear head, and beside it one that tells by how many quarters of a circle the image was turned.

    Arguments:
        linear: The last layer, D → C.
        rotation: The other one, D → 4.

    References:
        | Using Self-Supervised Learning Can Improve Model Robustness and Uncertainty (Hendrycks et al., 2019)
        | https://arxiv.org/abs/1906.12340
    """

    def __init__(self, linear: nn.Linear, rotation: nn.Linear) -> None:
        super().__init__(linear)
        self.rotation = rotation


def turned(images: Tensor) -> list[Tensor]:
    """Images [B, C, S, S] turned by no, one, two and three quarters of a circle, counter-clockwise."""
    return [torch.rot90(images, quarters, (2, 3)) for quarters in range(4)]


class PrototypeHead(nn.Module):
    r"""Cosine similarity of a projection to one prototype per class: ``logits = project(features) @ prototypes.T / τ``.

    The softmax of these logits is the class posterior of von Mises–Fisher distributions about the prototypes, with
    concentration 1/τ.

    Arguments:
        projection: Maps features [B, D] to [B, d].
        classes: C.
        dim: d.
        temperature: τ.
        learned: Whether the prototypes are parameters; otherwise they are a buffer that the method moves.
        ood_head: Tells training images from outliers, if the method trains such a network; see
            `outskirts.models.ood_head`.

    References:
        | How to Exploit Hyperspherical Embeddings for Out-of-Distribution Detection? (Ming et al., 2023)
        | https://arxiv.org/abs/2203.04450
    """

    prototypes: Tensor

    def __init__(
        self,
        projection: nn.Module,
        classes: int,
        dim: int,
        temperature: float = 0.1,
        learned: bool = False,
        ood_head: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.projection = projection
        self.temperature = temperature
        prototypes = normalize(torch.randn(classes, dim), dim=1)
        if learned:
            self.prototypes = nn.Parameter(prototypes)
        else:
            self.register_buffer("prototypes", prototypes)
        self.ood_head = ood_head

    def project(self, features: Tensor) -> Tensor:
        """Points of the unit sphere, [B, d], at least float32."""
        projected = self.projection(features)
        return normalize(projected if projected.dtype == torch.float64 else projected.float(), dim=1)

    def space(self, features: Tensor, name: Space) -> tuple[Tensor, Head | None]:
        """Features or projections, and the prototypes as a linear layer, if any; see
        `outskirts.models.classifier.Classifier.space`.
        """
        if name != "projection":
            return features, None
        weight = normalize(self.prototypes.detach(), dim=1) / self.temperature
        return self.project(features), Head(weight, weight.new_zeros(len(weight)))

    def forward(self, features: Tensor) -> Tensor:
        points = self.project(features)
        # In half precision, cosines divided by a small temperature would be off by several hundredths.
        with full_precision(points):
            return points @ normalize(self.prototypes, dim=1).to(points).T / self.temperature


class ModuleHead(nn.Module):
    """A head that is no linear layer: ``logits = module(features)``.

    Arguments:
        module: Maps features of the given shape to logits.
        shape: Shape of the features of one image.
    """

    def __init__(self, module: nn.Module, shape: Sequence[int]) -> None:
        super().__init__()
        self.module = module
        self.shape = tuple(shape)

    def forward(self, features: Tensor) -> Tensor:
        return self.module(features.reshape(len(features), *self.shape)).flatten(1)


class CarriedHead(nn.Module):
    """Logits that come out of the backbone together with the features, in the last columns.

    It is for networks whose logits are no function of the features that are known of them.

    Arguments:
        dim: D, without the logits.
        linear: The linear layer nearest to the logits, D → C, if there is any.
        single: Whether one logit is carried, which is that of the second of two classes.
    """

    def __init__(self, dim: int, linear: nn.Linear | None = None, single: bool = False) -> None:
        super().__init__()
        self.dim = dim
        self.single = single
        self.linear = linear

    def forward(self, features: Tensor) -> Tensor:
        logits = features[:, self.dim :]
        return _Beside()(logits) if self.single else logits

    def space(self, features: Tensor, name: Space) -> tuple[Tensor, Head | None]:
        """The features without the logits, and the linear layer, if any."""
        own = features[:, : self.dim]
        return own, None if self.linear is None else LinearHead(self.linear).space(own, "raw")[1]


def both_sides(head: nn.Module, dim: int) -> nn.Module:
    """A head of two classes where one has a single logit, which a sigmoid takes: logits [0, z].

    Their softmax is that sigmoid; any other head is returned as it is.

    Arguments:
        head: Head of a network.
        dim: Width of what it takes.

    Raises:
        OutskirtsError: If it has prototypes of one class.
    """
    if isinstance(head, NoHead):
        return head
    with torch.no_grad():
        if head(torch.zeros(1, dim)).shape[1] != 1:
            return head
    if isinstance(head, CarriedHead):
        return CarriedHead(head.dim, None if head.linear is None else _with_zeros(head.linear), single=True)
    if isinstance(head, LinearHead):
        return LinearHead(_with_zeros(head.linear), head.inputs)
    if not isinstance(head, ModuleHead):
        raise OutskirtsError(
            "The classifier compares images with a single class, so all would be of it; name at least two (words=)."
        )
    return ModuleHead(nn.Sequential(head.module, nn.Flatten(), _Beside()), head.shape)


def _with_zeros(linear: nn.Linear) -> nn.Linear:
    """A linear layer with a row of zeros before its own."""
    both = nn.Linear(linear.in_features, 1 + linear.out_features, bias=linear.bias is not None).to(linear.weight)
    both.load_state_dict({name: torch.cat([torch.zeros_like(one), one]) for name, one in linear.state_dict().items()})
    return both


class _Beside(nn.Module):
    """Zeros before a single logit [B, 1]."""

    def forward(self, logits: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(logits), logits], 1)


class NoHead(nn.Module):
    """In the place of a head where there is none.

    Raises:
        OutskirtsError: If logits are asked for.
    """

    def forward(self, features: Tensor) -> Tensor:
        raise OutskirtsError("This network has no head, so it gives no logits.")


class DividedHead(nn.Module):
    r"""``logits = h / g``: h is the cosine of the features to the weight of each class, and g a number from 0 to 1.

    Only their quotient has to be right about the class, so that h may tell what is out of the distribution.

    Arguments:
        dim: D.
        classes: C.

    References:
        | Generalized ODIN: Detecting Out-of-distribution Image without Learning from Out-of-distribution Data
          (Hsu et al., 2020)
        | https://arxiv.org/abs/2002.11297
    """

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.kaiming_normal_(torch.empty(classes, dim), nonlinearity="relu"))
        self.divisor = nn.Sequential(nn.Linear(dim, 1), nn.BatchNorm1d(1), nn.Sigmoid())

    def numerators(self, features: Tensor) -> Tensor:
        """h, [B, C]."""
        return normalize(features, dim=1) @ normalize(self.weight, dim=1).T.to(features)

    def forward(self, features: Tensor) -> Tensor:
        # In half precision, a small divisor would magnify what the cosines lack.
        with full_precision(features):
            wide = features.to(self.weight)
            return self.numerators(wide) / self.divisor(wide)


def projector(kind: str, inputs: int, outputs: int) -> nn.Module:
    """The projection of contrastive learning: ``linear``, ``mlp`` with one hidden layer as wide as its input, or
    ``none``, where `inputs` and `outputs` are the same number.
    """
    if kind == "none":
        return nn.Identity()
    if kind == "linear":
        return nn.Linear(inputs, outputs)
    return nn.Sequential(nn.Linear(inputs, inputs), nn.ReLU(), nn.Linear(inputs, outputs))


class Standardize(nn.Module):
    r"""Standardize each feature vector over its own entries: :math:`\tilde h = \sigma (h - \mu) / s`.

    The norm of the result is at most :math:`\sigma \sqrt{D - 1}`, so logits cannot grow with the features.

    The published code divides by ``s + 1e-6``, whose gradient is of order 1e6 where a feature vector is
    constant, as rectified networks produce on outliers. Here :math:`s = \sqrt{\mathrm{var} + \epsilon^2}`,
    which bounds the gradient by :math:`\sigma / \epsilon`.

    Arguments:
        sigma: Scale of the result; saved with the weights.
        reference_quirks: Divide by ``s + 1e-6`` as published.

    References:
        | Image-based Outlier Synthesis With Training Data (Regmi, 2026): standardised features
        | https://arxiv.org/abs/2411.10794

    >>> Standardize(0.5)(torch.tensor([[1.0, 2.0, 3.0, 4.0]])).norm().item()  # 0.5 * sqrt(3)
    0.866...
    """

    sigma: Tensor
    eps = 1e-3

    def __init__(self, sigma: float = 0.5, reference_quirks: bool = False) -> None:
        super().__init__()
        self.reference_quirks = reference_quirks
        self.register_buffer("sigma", torch.tensor(float(sigma)))

    def forward(self, features: Tensor) -> Tensor:
        features = features if features.dtype == torch.float64 else features.float()
        centered = features - features.mean(1, keepdim=True)
        if self.reference_quirks:
            return self.sigma * centered / (features.std(1, keepdim=True) + 1e-6)
        variance = centered.square().sum(1, keepdim=True) / (features.shape[1] - 1)
        return self.sigma * centered * (variance + self.eps**2).rsqrt()


class UnitLength(nn.Module):
    r"""Bring each feature vector to the length :math:`\sigma \sqrt{D - 1}`, which `Standardize` brings it to as well.

    Arguments:
        sigma: Scale of the result; saved with the weights.

    >>> UnitLength(0.5)(torch.tensor([[3.0, 4.0]]))
    tensor([[0.3000, 0.4000]])
    """

    sigma: Tensor

    def __init__(self, sigma: float = 0.5) -> None:
        super().__init__()
        self.register_buffer("sigma", torch.tensor(float(sigma)))

    def forward(self, features: Tensor) -> Tensor:
        features = features if features.dtype == torch.float64 else features.float()
        return self.sigma * (features.shape[1] - 1) ** 0.5 * normalize(features, dim=1)


class UnitInTraining(nn.Module):
    r"""Bring each feature vector to the length :math:`1 / \tau` in training, and only divide it by τ otherwise.

    Arguments:
        temperature: τ; saved with the weights.

    References:
        | T2FNorm: Train-time Feature Normalization for OOD Detection in Image Classification (Regmi et al., 2023)
        | https://arxiv.org/abs/2305.17797

    >>> head = UnitInTraining(0.5)
    >>> head(torch.tensor([[3.0, 4.0]])), head.eval()(torch.tensor([[3.0, 4.0]]))
    (tensor([[1.2000, 1.6000]]), tensor([[6., 8.]]))
    """

    temperature: Tensor

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        self.register_buffer("temperature", torch.tensor(float(temperature)))

    def forward(self, features: Tensor) -> Tensor:
        features = features if features.dtype == torch.float64 else features.float()
        return (normalize(features, dim=1) if self.training else features) / self.temperature

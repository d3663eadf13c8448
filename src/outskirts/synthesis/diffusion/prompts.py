"""What the diffusion model is told of an image: its class, and where in the class it lies.

A prompt is a short text with one place for a token vector, as in Stable Diffusion: there it would be "an image of a
<word>". The vector is the class's own, moved by a code of the image. Without such codes in training, the space about a
class's vector has no meaning, and nothing of an image can be found in it again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

__all__ = ["ImageCodes", "Prompts", "text_encoder"]

#: The end of a text, which also fills it up; its beginning; "an image of a"; the place of the vector; the classes.
_END, _BEGIN, _IMAGE_OF, _PLACE, _CLASSES = range(5)
_PROMPT = (_BEGIN, _IMAGE_OF, _PLACE, _END)
_EMPTY = (_BEGIN, _END, _END, _END)


def text_encoder(classes: int, dim: int) -> CLIPTextModel:
    """A small text transformer whose vocabulary is the classes."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=_CLASSES + classes,
            hidden_size=dim,
            intermediate_size=4 * dim,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=len(_PROMPT),
            bos_token_id=_BEGIN,
            eos_token_id=_END,
            pad_token_id=_END,
        )
    )


class Prompts(nn.Module):
    """Conditions for the denoiser.

    Arguments:
        encoder: See `text_encoder`.
    """

    def __init__(self, encoder: CLIPTextModel) -> None:
        super().__init__()
        self.encoder = encoder

    @property
    def dim(self) -> int:
        """Of the vectors, D."""
        return self.encoder.config.hidden_size

    def vectors(self, labels: Tensor) -> Tensor:
        """The token vectors [B, D] of classes [B]."""
        table = self.encoder.get_input_embeddings().weight
        assert isinstance(table, Tensor)
        return table[labels + _CLASSES]

    def forward(self, vectors: Tensor) -> Tensor:
        """Conditions [B, L, D] of prompts about token vectors [B, D]."""
        with self._in_place(vectors):
            return self._encoded(_PROMPT, vectors)

    def empty(self, like: Tensor) -> Tensor:
        """Conditions [B, L, D] of as many empty texts."""
        return self._encoded(_EMPTY, like)

    def _encoded(self, text: tuple[int, ...], like: Tensor) -> Tensor:
        ids = torch.tensor(text, device=like.device).expand(len(like), -1)
        return self.encoder(input_ids=ids).last_hidden_state

    @contextmanager
    def _in_place(self, vectors: Tensor) -> Iterator[None]:
        """Vectors, one per text, where the vocabulary's would be; gradients reach them."""

        def replaced(module: nn.Module, given: tuple[Tensor], found: Tensor) -> Tensor:
            return torch.where((given[0] == _PLACE)[..., None], vectors[:, None].to(found), found)

        hook = self.encoder.get_input_embeddings().register_forward_hook(replaced)
        try:
            yield
        finally:
            hook.remove()


class ImageCodes(nn.Module):
    """Where in its class an image lies: its leading within-class principal components, as moves of a token vector.

    Arguments:
        classes: C.
        size: Numbers in an image's code by the codec, flattened.
        dim: Of token vectors, D.
        components: k.
        spread: Standard deviation of the moves in each dimension.
    """

    means: Tensor
    basis: Tensor
    moves: Tensor

    def __init__(self, classes: int, size: int, dim: int, components: int = 8, spread: float = 0.02) -> None:
        super().__init__()
        self.register_buffer("means", torch.zeros(classes, size))
        self.register_buffer("basis", torch.zeros(size, components))
        rows = torch.linalg.qr(torch.randn(dim, components)).Q.T
        self.register_buffer("moves", rows * spread * (dim / components) ** 0.5)

    def fit(self, codes: Tensor, labels: Tensor) -> ImageCodes:
        """Find the components of images' codes [N, …] with labels [N]."""
        codes = codes.flatten(1)
        counts = torch.bincount(labels, minlength=len(self.means)).clamp_min(1)
        self.means.copy_(torch.zeros_like(self.means).index_add_(0, labels, codes) / counts[:, None])
        centred = codes - self.means[labels]
        kept = self.basis.shape[1]
        with torch.random.fork_rng():
            torch.manual_seed(0)
            # Some more than are kept make those that are kept exact.
            several = min(kept + 16, *centred.shape)
            _, singular, basis = torch.pca_lowrank(centred, several, center=False, niter=4)
        self.basis.copy_((basis / (singular / len(codes) ** 0.5))[:, :kept])
        return self

    def forward(self, codes: Tensor, labels: Tensor) -> Tensor:
        """Codes [B, k] of images' codes by the codec [B, …]: within each class of mean 0 and variance 1."""
        return (codes.flatten(1) - self.means[labels]) @ self.basis

    def move(self, codes: Tensor) -> Tensor:
        """What codes [B, k] add to token vectors, [B, D]."""
        return codes @ self.moves

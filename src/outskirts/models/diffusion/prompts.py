"""What a diffusion model is told of an image: a short text with one place for a token vector."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

__all__ = ["ClassPrompts", "Prompts", "text_encoder"]

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


class Prompts(nn.Module, ABC):
    """Conditions for the denoiser: what a text encoder makes of a text with a token vector in one place of it.

    Arguments:
        encoder: A `CLIPTextModel`.
        text: Token ids of the text, [L]; whatever stands at the vector's place is not looked at.
        place: Where the vector is.
        empty: Token ids of a text that says nothing, [L].
    """

    def __init__(self, encoder: CLIPTextModel, text: Sequence[int], place: int, empty: Sequence[int]) -> None:
        super().__init__()
        self.encoder = encoder
        self.text, self.place, self.none = tuple(text), place, tuple(empty)

    @property
    def dim(self) -> int:
        """Dimension of the vectors, D."""
        return self.encoder.config.hidden_size

    @property
    def table(self) -> Tensor:
        """The token vectors of the whole vocabulary, [V, D]."""
        weight = self.encoder.get_input_embeddings().weight
        assert isinstance(weight, Tensor)
        return weight

    @abstractmethod
    def vectors(self, labels: Tensor) -> Tensor:
        """The token vectors [B, D] of classes [B]."""

    @torch.no_grad()
    def starts(self, labels: Tensor) -> Tensor:
        """The same in float32, on the labels' device: what embeddings of images begin at."""
        return self.vectors(labels.to(self.table.device)).float().to(labels.device)

    def forward(self, vectors: Tensor) -> Tensor:
        """Conditions [B, L, D] of prompts about token vectors [B, D]."""
        with self._in_place(vectors):
            return self._encoded(self.text, vectors)

    def empty(self, like: Tensor) -> Tensor:
        """Conditions [B, L, D] of as many empty texts."""
        return self._encoded(self.none, like)

    def _encoded(self, text: tuple[int, ...], like: Tensor) -> Tensor:
        ids = torch.tensor(text, device=like.device).expand(len(like), -1)
        return self.encoder(input_ids=ids).last_hidden_state

    @contextmanager
    def _in_place(self, vectors: Tensor) -> Iterator[None]:
        """Vectors, one per text, where the vocabulary's would be; gradients reach them."""
        here = torch.arange(len(self.text), device=vectors.device)[:, None] == self.place

        def replaced(module: nn.Module, given: tuple[Tensor], output: Tensor) -> Tensor:
            return torch.where(here, vectors[:, None].to(output), output)

        hook = self.encoder.get_input_embeddings().register_forward_hook(replaced)
        try:
            yield
        finally:
            hook.remove()


class ClassPrompts(Prompts):
    """Prompts whose vocabulary is the classes, learned with the denoiser.

    Arguments:
        encoder: A text transformer whose vocabulary is the classes, as `text_encoder` makes it.
    """

    def __init__(self, encoder: CLIPTextModel) -> None:
        super().__init__(encoder, _PROMPT, _PROMPT.index(_PLACE), _EMPTY)

    def vectors(self, labels: Tensor) -> Tensor:
        return self.table[labels + _CLASSES]

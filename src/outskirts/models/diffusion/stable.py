"""Stable Diffusion, and whatever is laid out as it is, from a local folder.

References:
    | High-Resolution Image Synthesis with Latent Diffusion Models (Rombach et al., 2022)
    | https://arxiv.org/abs/2112.10752
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from ...errors import OutskirtsError, loading
from ..pipeline_folder import load_whole, require_no_code, sample_side
from ..vocabulary import require_known_tokens
from .codec import Autoencoder, load_codec
from .latent import LatentDiffusion
from .prompts import Prompts
from .quiet import quietly

__all__ = ["TEMPLATE", "WordPrompts", "load_stable_diffusion"]

TEMPLATE = "an image of a {}"

_PARTS = ("tokenizer", "text_encoder", "unet", "vae", "scheduler")


class WordPrompts(Prompts):
    """Prompts in the words of a trained text encoder.

    A class's vector is the mean of those of its words' pieces, so that a word may have several; the vector's place is
    none of the vocabulary, so that no word is changed.

    Arguments:
        encoder: Encoder of the texts.
        tokenizer: Tokenizer of that encoder.
        words: What the classes are called in texts.
        template: Text of an image, with one {} for the word.
    """

    rows: Tensor

    def __init__(self, encoder: CLIPTextModel, tokenizer: Any, words: Sequence[str], template: str = TEMPLATE) -> None:
        if template.count("{}") != 1:
            raise OutskirtsError(f"The prompt '{template}' must have one place for a class; write {{}} once.")
        before, after = (_pieces(tokenizer, part) for part in template.split("{}"))
        length = encoder.config.max_position_embeddings
        text = [tokenizer.bos_token_id, *before, tokenizer.eos_token_id, *after, tokenizer.eos_token_id]
        if len(text) > length:
            raise OutskirtsError(
                f"The prompt '{template}' has {len(text)} tokens, but its encoder takes {length}; write a shorter one."
            )

        def filled(ids: list[int]) -> list[int]:
            return ids + [tokenizer.pad_token_id] * (length - len(ids))

        empty = [tokenizer.bos_token_id, tokenizer.eos_token_id]
        super().__init__(encoder, filled(text), 1 + len(before), filled(empty))
        pieces = {word: _pieces(tokenizer, word) for word in words}
        used = [*self.text, *self.none, *(piece for word in words for piece in pieces[word])]
        require_known_tokens(tokenizer, used, encoder.config.vocab_size)
        if nameless := [word for word in words if not pieces[word]]:
            raise OutskirtsError(f"No token stands for the class '{nameless[0]}'; say what it is: --words cat,dog,…")
        self.register_buffer("rows", torch.stack([self.table[pieces[word]].mean(0) for word in words]).detach())

    def vectors(self, labels: Tensor) -> Tensor:
        return self.rows[labels]


def load_stable_diffusion(folder: Path, words: Sequence[str], template: str = TEMPLATE) -> LatentDiffusion:
    """The model in a folder as diffusers saves it; nothing of it is ever trained.

    Arguments:
        folder: With ``model_index.json``, and the tokenizer, text encoder, denoiser, autoencoder and scheduler.
        words: What the classes are called in texts.
        template: Text of an image, with one ``{}`` for the class name.
    """
    require_no_code(folder)
    missing = [part for part in _PARTS if not (folder / part).is_dir()]
    if missing:
        raise OutskirtsError(f"{folder} is not a Stable Diffusion: it lacks {' and '.join(missing)}.")
    if all(word.isdigit() for word in words):
        raise OutskirtsError(
            f"A text encoder does not know what {', '.join(words[:3])} are; pass a word for each class, in "
            "the order of the classes: --words cat,dog,…"
        )
    with loading(f"The Stable Diffusion in {folder} cannot be loaded"):
        with quietly():
            tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
            encoder = load_whole(CLIPTextModel, folder / "text_encoder")
        unet = load_whole(UNet2DConditionModel, folder / "unet")
        noising = DDPMScheduler.from_pretrained(folder / "scheduler", local_files_only=True)
        # It takes any configuration, and fails when it is used.
        noising.add_noise(torch.zeros(1), torch.zeros(1), torch.tensor([0]))
    # Without its files a tokenizer is made all the same, of hardly any words.
    if len(tokenizer) < encoder.config.vocab_size // 2:
        raise OutskirtsError(
            f"The tokenizer in {folder / 'tokenizer'} knows {len(tokenizer)} tokens, and the text encoder "
            f"{encoder.config.vocab_size}; copy its vocab.json and merges.txt there."
        )
    codec = load_codec(folder / "vae")
    if not isinstance(codec, Autoencoder):
        raise OutskirtsError(f"{folder} holds a generator of outskirts, not a Stable Diffusion.")
    prompts = WordPrompts(encoder, tokenizer, words, template)
    model = LatentDiffusion(codec, prompts, unet, noising, words, sample_side(unet, folder) * codec.patch)
    return model.requires_grad_(False).eval()


def _pieces(tokenizer: Any, text: str) -> list[int]:
    """The token ids of a text that may be empty, without its beginning and end."""
    if not text.strip():
        return []
    with loading("The tokenizer of this Stable Diffusion cannot be used"):
        return tokenizer(text.strip(), add_special_tokens=False).input_ids

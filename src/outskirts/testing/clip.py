"""A small CLIP with random weights, in the files of a real one."""

from __future__ import annotations

import json
from pathlib import Path

from ..errors import MissingExtra
from ..seeding import isolated

__all__ = ["save_small_clip"]


def save_small_clip(folder: Path) -> Path:
    """Write a CLIP of 4 blocks for images of 32 pixels, whose words are letters and digits; returns the folder.

    Raises:
        OutskirtsError: If transformers is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise MissingExtra("A small CLIP", "clip") from error
    folder.mkdir(parents=True, exist_ok=True)
    common = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "projection_dim": 16}
    text = {"num_hidden_layers": 2, "vocab_size": 80, "max_position_embeddings": 64}
    tokens = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    vision = {"num_hidden_layers": 4, "image_size": 32, "patch_size": 8}
    config = transformers.CLIPConfig(
        text_config={**common, **text, **tokens}, vision_config={**common, **vision}, projection_dim=16
    )
    transformers.utils.logging.disable_progress_bar()
    with isolated(0, "clip"):
        model = transformers.CLIPModel(config)
    for parameter in model.parameters():  # The library's own are so small that all images would look alike.
        parameter.data.mul_(3)
    model.save_pretrained(folder)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,'"
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer"}))
    pixels = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
    crop = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}, "resample": 3}
    about = {"image_processor_type": "CLIPImageProcessor", "do_resize": True, "do_center_crop": True}
    (folder / "preprocessor_config.json").write_text(json.dumps({**about, **crop, **pixels}))
    return folder

"""Any diffusion model in a folder, trained here or a Stable Diffusion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...errors import OutskirtsError
from ...files import is_file
from .latent import LatentDiffusion
from .model import DiffusionModel
from .stable import TEMPLATE, load_stable_diffusion

__all__ = ["load_model"]


def load_model(
    folder: Path, classes: Sequence[str], words: str | None = None, template: str = TEMPLATE
) -> LatentDiffusion:
    """The model in a folder.

    Arguments:
        folder: With ``generator.json``, as `DiffusionModel.save` writes it, or with ``model_index.json``, as diffusers
            saves a Stable Diffusion.
        classes: Those it is asked for, in order; one that was trained here must be of just these.
        words: What they are called in texts, comma-separated; their names unless given. Of a Stable Diffusion alone,
            as is the template.
        template: Text of an image, with one ``{}`` for the class name.
    """
    if is_file(folder / "generator.json"):
        if words or template != TEMPLATE:
            raise OutskirtsError(
                f"The generator in {folder} reads no words; it knows the classes alone. Leave out --words and "
                "--template."
            )
        model = DiffusionModel.load(folder)
        if model.classes != list(classes):
            raise OutskirtsError(
                f"The generator in {folder} was trained on the classes {', '.join(model.classes[:5])}, …, not on "
                f"{', '.join(classes[:5])}, …"
            )
        return model
    if not is_file(folder / "model_index.json"):
        raise OutskirtsError(
            f"{folder} is not a folder of a diffusion model. A generator that outskirts trained has a "
            "generator.json, and a Stable Diffusion has a model_index.json."
        )
    named = [word.strip() for word in words.split(",")] if words else classes
    if len(named) != len(classes):
        raise OutskirtsError(f"There are {len(classes)} classes and {len(named)} --words; give one for each class.")
    return load_stable_diffusion(folder, named, template)

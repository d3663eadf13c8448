"""Folders of diffusers pipelines, looked through before anything of them is loaded: they may bring no code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..errors import OutskirtsError
from ..files import is_file, load_json

__all__ = ["SAFELY", "load_whole", "require_no_code", "sample_side"]

#: How models are loaded from a folder: from there alone, and from files that hold nothing but weights.
SAFELY: dict[str, Any] = {"local_files_only": True, "use_safetensors": True}

_INDEX = "model_index.json"
#: Libraries that the parts of a pipeline may be of.
_LIBRARIES = ("diffusers", "transformers")
#: The parts that diffusers writes with the name of a pipeline of its own in the place of the library.
_OF_A_PIPELINE = (("stable_diffusion", "StableDiffusionSafetyChecker"),)
#: Classes, unlike functions and modules, begin with a capital letter.
_CLASS = re.compile(r"[A-Z][A-Za-z0-9_]*")
#: What the system's loader could run.
_CODE = (".py", ".pyc", ".pyd", ".so", ".dll", ".dylib")


def load_whole(kind: Any, folder: Path) -> Any:
    """A model of diffusers or transformers from a folder, in which weights that are missing are an error.

    The libraries leave them empty, or draw them at random.

    Arguments:
        kind: Class of the model.
        folder: Folder with its configuration and weights.
    """
    model, about = kind.from_pretrained(folder, output_loading_info=True, **SAFELY)
    if missing := sorted(about["missing_keys"]):
        raise OutskirtsError(f"The weights in {folder} lack {', '.join(missing[:3])}.")
    return model


def require_no_code(folder: Path) -> None:
    """Raise unless a folder is a pipeline's, made of classes of diffusers and transformers alone.

    The loaders of diffusers and transformers run Python files of the folder that its JSON files name; which ones, and
    whether they ask before, differs by version.

    Arguments:
        folder: Folder with ``model_index.json``.

    Raises:
        OutskirtsError: If it is no such folder, holds code, or names a class of anything else.
    """
    if not is_file(folder / _INDEX):
        raise OutskirtsError(f"{folder} is not a folder of a diffusers pipeline: it has no {_INDEX}.")
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in _CODE:
            raise OutskirtsError(
                f"{folder} holds code ({path.relative_to(folder)}), and code that came with a model is not run here; "
                "use a folder with configuration and weights alone."
            )
        if path.name == _INDEX:
            _require_known_classes(path)
        elif path.suffix == ".json" and "config" in path.name and "auto_map" in (about := load_json(path, dict)):
            raise OutskirtsError(
                f"{path} asks for code of its own ({about['auto_map']}), and code that came with a model is not run "
                "here; use a model made of the classes of diffusers and transformers."
            )


def _require_known_classes(index: Path) -> None:
    about = load_json(index)
    if not isinstance(about, dict) or not _is_class(about.get("_class_name")):
        named = about.get("_class_name") if isinstance(about, dict) else about
        raise OutskirtsError(f"{index} must name a pipeline of diffusers as _class_name, not {named!r}.")
    for name, part in about.items():
        if name.startswith("_") or not isinstance(part, list) or part == [None, None]:
            continue
        library, kind = part if len(part) == 2 else (None, None)
        if (library in _LIBRARIES and _is_class(kind)) or (library, kind) in _OF_A_PIPELINE:
            continue
        raise OutskirtsError(
            f"{index} makes the part '{name}' of {part!r}; only classes of {' and '.join(_LIBRARIES)} are loaded."
        )


def _is_class(name: Any) -> bool:
    return isinstance(name, str) and _CLASS.fullmatch(name) is not None


def sample_side(unet: Any, folder: Path | str) -> int:
    """The side of what a denoiser makes, in its own pixels; an error if its configuration lacks it.

    Arguments:
        unet: A denoiser of diffusers.
        folder: The folder of the pipeline, for the message.
    """
    side = unet.config.sample_size
    if not isinstance(side, int):
        raise OutskirtsError(
            f"{Path(folder) / 'unet' / 'config.json'} has no sample_size: the height and width that the network was "
            "trained on, as one whole number such as 64."
        )
    return side

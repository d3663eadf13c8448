"""Guards in repositories of the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import MissingExtra, loading

__all__ = ["fetched", "pushed"]

#: The files of a guard that are fetched: no code is among them.
_FILES = ["guard.json", "*.safetensors"]


def pushed(folder: Path, repo: str, private: bool) -> str:
    """Write the folder of a guard to a repository; returns its address.

    Arguments:
        folder: The folder.
        repo: Name of the repository, such as ``me/photos``; it is made if there is none.
        private: Whether a new repository is seen by its owner alone.

    Raises:
        OutskirtsError: If it cannot be written.
    """
    hub = _hub()
    with loading(f"The guard cannot be written to the repository '{repo}'"):
        api = hub.HfApi(library_name="outskirts")
        address = api.create_repo(repo, private=private, exist_ok=True)
        api.upload_folder(repo_id=repo, folder_path=str(folder), commit_message="A guard made with outskirts")
    return str(address)


def fetched(repo: str, revision: str | None) -> Path:
    """The folder of a guard in the local cache, with what a repository holds.

    Arguments:
        repo: Name of the repository.
        revision: Branch, tag or commit; the newest unless given.

    Raises:
        OutskirtsError: If it cannot be read.
    """
    hub = _hub()
    with loading(f"There is no folder '{repo}', and no repository of this name can be read from the Hub"):
        return Path(hub.snapshot_download(repo, revision=revision, allow_patterns=_FILES))


def _hub() -> Any:
    try:
        import huggingface_hub
    except ModuleNotFoundError as error:
        raise MissingExtra("The Hub", "hub") from error
    return huggingface_hub

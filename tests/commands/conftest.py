import pytest

import outskirts as osk


@pytest.fixture(scope="session")
def judge(bugs, tmp_path_factory):
    """A classifier trained on the bugs; not to be changed, but for what it says of images."""
    small = {"epochs": 3, "batch_size": 8, "lr": 0.1, "precision": "fp32", "device": "cpu", "augment": "none"}
    return osk.train("ce", bugs / "train", out=tmp_path_factory.mktemp("judge") / "run", **small).path

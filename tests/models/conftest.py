import json
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def vectors():
    return json.loads((Path(__file__).parents[1] / "vectors" / "ascood_sio_detectors.json").read_text())

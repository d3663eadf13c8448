import pytest

from outskirts import OutskirtsError
from outskirts.detectors import create


def test_a_detector_written_as_text():
    assert create("knn:k=10,space=projection").params == {"k": 10, "space": "projection", "index": "exact"}
    assert create("combination:detectors=[energy,knn],rule=fisher").params["detectors"] == ["energy", "knn"]
    assert create("vim:dim=null").params == {"dim": None, "level": "centered"}
    with pytest.raises(OutskirtsError, match="'knn:10' is not a detector; write parameters as in knn:k=10"):
        create("knn:10")
    with pytest.raises(OutskirtsError, match="did you mean 'k'"):
        create("knn:kk=10")

"""Values that are parted in another way than their option wants: the error has the right words."""

import shlex

import pytest

PLACE = "folder:somewhere"


@pytest.mark.parametrize(
    ("line", "right"),
    [
        (
            "evaluate run --detectors msp,knn",
            "spaces, and no commas, between the names of --detectors: --detectors msp knn",
        ),
        ("evaluate run --detectors msp, nosuch", "--detectors: --detectors msp nosuch"),
        ("evaluate run --detectors=knn:k=5,space=raw,msp,odin", "--detectors: --detectors knn:k=5,space=raw msp odin"),
        (
            f"evaluate run --far a={PLACE}?classes=1,2,b=./fog",
            f"the sets of --far: --far 'a={PLACE}?classes=1,2' b=./fog",
        ),
        ("evaluate run --near svhn=svhn,dtd=textures", "--near: --near svhn=svhn dtd=textures"),
        ("evaluate --model hf:x --train x --mean .5 .5 .5 run", "between the values of --mean: --mean .5,.5,.5"),
        (
            "benchmark x.yaml --methods ce ascood",
            "commas, and no spaces, between the values of --methods: --methods ce,ascood",
        ),
        ("benchmark --methods ce, ascood x.yaml", "--methods: --methods ce,ascood"),
        ("benchmark x.yaml --with sio other", "--with: --with sio,other"),
        ("benchmark x.yaml --seeds 0 1 2", "--seeds: --seeds 0,1,2"),
        ("benchmark x.yaml --detectors msp,knn", "--detectors: --detectors msp knn"),
        ("benchmark x.yaml --set augment=flip,crop:1,epochs=2", "options of --set: --set augment=flip,crop:1 epochs=2"),
        ("train ce --data x --augment flip crop:1", "--augment: --augment flip,crop:1"),
        ("train ce --data x --train-layers layer3 layer4", "--train-layers: --train-layers layer3,layer4"),
        ("train dream --data x --words cat dog", "--words: --words cat,dog"),
    ],
)
def test_the_right_words_are_shown(line, right, outskirts):
    outcome = outskirts(*shlex.split(line))
    assert outcome.code == 2 and right in outcome.err, outcome.err


@pytest.mark.parametrize(
    "line",
    [
        "evaluate run --detectors knn:k=5,space=raw msp --far a=folder:x?classes=1,2",
        "evaluate run --far a=folder:lr=0.1,wd=0.01/samples",
        "evaluate --mean .5,.5,.5 run",
        "benchmark --methods ce,ascood nosuch.yaml",
        "benchmark nosuch.yaml --set augment=flip,crop:1 synthetic=pool:a=1,b=2",
        "import openood nosuch.pt --data x --mean .5 .5 .5 --out out",
    ],
)
def test_what_is_right_stays(line, outskirts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = outskirts(*shlex.split(line))
    assert outcome.code == 2 and "between the" not in outcome.err, outcome.err

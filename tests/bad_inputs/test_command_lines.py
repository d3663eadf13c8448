"""Wrong words after every command end in one sentence: no traceback, no hang, whatever was wrong."""

import shlex

import pytest
from hypothesis import strategies as st

#: Lines that work, of every command. None trains for long; `everything` has what they name.
LINES = """
train ce --data train --val val --epochs 0 --batch-size 4 --lr .1 --precision fp32 --augment none --seed 0 --out out
train ascood --data train --val val --epochs 0 --batch-size 4 --p-inv .2 --out out
train npos --data train --val val --epochs 0 --batch-size 4 --queue 5 --k 1 --boundary 2 --size 16 --out out
train oe --data train --val val --epochs 0 --outliers images --outlier-images fog --synthetic pool:pool --out out
train ce --init run --data train --val val --epochs 0 --batch-size 4 --optimizer sgd --label-smoothing .1 --out out
train --config config.yaml --seed 1 --out out
train --resume begun
evaluate run --test test --near flies=flies --far fog=fog --detectors msp knn:k=5 --features head --keep fp16
evaluate run --benchmark bench.yaml --detectors msp energy
import openood weights.pt --data train --size 32 --out out
synthesize ascood --run pixel --count 4 --seed 0 --out out
synthesize boundary --run run --count 4 --k 1 --rows 5 --sigma .1 --out out
synthesize id --generator mixup --data train --count 4 --size 8 --seed 0 --beta 1 --out out
benchmark bench.yaml --methods ce --seeds 0 --detectors msp --set epochs=0 --out out
benchmark show bench.yaml
report run --out page.html
data pack --data train --side 8 --quality 75 --out ./out.parquet
data verify pool:pool
data verify fetched
data fetch zipped
data fetch list
data extract --backbone clip:clip --data val --batch-size 4 --shard 2 --out out
synthesize ncis embed --model stable --run run --draws 2 --precision fp32 --seed 0 --out out
synthesize gaussian --run run --count 4 --out out
benchmark page bench --out out.md
list detectors
""".strip().splitlines()

#: What is written instead of the right word, by mistake or not.
WORDS = [*shlex.split(r"""
'' ' ' - -- -1 0 1.5 1e400 nan -inf 99999999999999999999 é a=b 'a b' None true [] {} = : , ? ../.. . ~nosuchuser/x
/dev/null /proc/self/mem fifo.png noise empty latin.txt bench.yaml run begun train pool a.npz config.yaml out
folder: parquet:fog parquet:noise npz:noise npy:a.npz npy:fifo.png csv:latin.txt@train csv:a.csv@train
csv:a.csv@train?attribute=sex imglist:latin.txt@train imglist:a.txt@train pool:train hf:train tokens:train dtd:x
train?limit=0 train?classes=9 train?part=1-0% train?jpeg=0 train?x=1 train?limit=a train? train?correlation=999
knn:k=0 knn:k=nan knn:x=1 knn:k=[1 odin:temperature=-1 'msp msp' nosuch all msp:energy clip:empty timm:x torchvision:x
hf:hf hf:noise tokens:tokens tokens:pool stable clip tokens bench odd fetched zip:bugs.zip bugs.zip npz:bugs.zip
folder:bugs.tar.xz pool:bugs.tar.gz hf:bugs.tar parquet:locked.zip npz:locked.zip csv:bugs.zip@train locked xz
a=train =train a= id=fog tuning=fog fog=fog epochs=x seed= epochs=0 epochs=[ 0- 1-0 0,0 0-9 jitter:9 pixmix:fog crop:-1
--epochs --help --nosuch --data --out --seed=x --no-resume -q --version
"""), "x" * 300, "x/" * 2500, "folder:" + "x" * 5000, "9" * 5000, "\udcff"]  # fmt: skip


@st.composite
def wrong_lines(draw: st.DrawFn, line: str) -> list[str]:
    """A command line with one to three mistakes."""
    words = line.split()
    wrong = st.sampled_from(WORDS) | st.text(st.characters(codec="utf-8", exclude_characters="/\0"), max_size=12)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(1, max(1, len(words) - 1)))
        match draw(st.sampled_from(["replace", "replace", "replace", "remove", "double", "insert"])):
            case "replace":
                words[place : place + 1] = [draw(wrong)]
            case "remove":
                del words[place : place + 1]
            case "double":
                words[place:place] = words[place : place + 2]
            case "insert":
                words.insert(place, draw(wrong))
    return words


@pytest.mark.parametrize("line", LINES)
def test_the_line_itself_works(line, here, outskirts):
    here()
    outcome = outskirts(*line.split())
    # A checkpoint of one of the published networks is large.
    assert outcome.code == (2 if line.startswith("import") else 0), outcome.err


@pytest.mark.parametrize("line", LINES)
def test_a_wrong_line_ends_in_a_sentence(line, here, answers, each_of):
    @each_of(wrong_lines(line))
    def check(words: list[str]) -> None:
        here()
        answers(words, line)

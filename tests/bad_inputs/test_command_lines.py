"""Wrong words after every command end in one sentence: no traceback, no hang, whatever was wrong."""

import re
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
evaluate --model module:own:make?weights=own.pt&size=16 --mean .5,.5,.5 --std 1,1,1 --val val \
--train csv:hot.csv@train?labels=ant,bee --test zip:photos.zip?inside=test --far fog=fog \
--detectors msp knn:k=1 --out out
evaluate --model timm:test_resnet?weights=timm.pt&size=32 --exif ignore --crop .9 --fit pad --seed 1 \
--train train --val-fraction .3 --test test --ood x/a=wds:shard.tar?image=png --detectors msp --out out
extract zip:photos.zip --model onnx:own.onnx?output=logits&features=flat&classes=classes.txt&size=16 \
--mean .5,.5,.5 --std 1,1,1 --keep fp16 --out out.npz
extract wds:shard.tar --model own.pt2?features=relu&size=16 --mean 0,0,0 --std 1,1,1 \
--skip-corrupt --out out.safetensors
extract npy:a.npy?channels=0,2,1 --model torchscript:own.ts?output=0&features=1&size=16 --mean 0,0,0 --std 1,1,1 \
--features raw --out out.npz
extract train?classes=ant --model hf:vit --interpolation bilinear --std 1,1,1 --device cpu --out out.npz
extract val --model clip:clip?words=ant,bee&template=a_{} --precision fp32 --out out.npz
extract flies --model run:run --features head --out out.npz
extract fog --model torchvision:squeezenet1_1?weights=none&head=none&size=64 --out out.npz
train ce --data csv:hot.csv@train?labels=ant,bee&group=who --val-fraction .5 --class-weights balanced --exif ignore \
--batch-size 2 --epochs 1 --out out
train ce --data wds:shard.tar?image=png --val zip:photos.zip?inside=test --sampler balanced --batch-size 4 --epochs 1 \
--lr .1 --augment none --out out
train ce --init module:own:make?weights=own.pt&size=16&mean=.5,.5,.5&std=1,1,1 --val-fraction .3 --epochs 0 --out out \
--data folder:train?group=path:([0-9]|j)
guard run --calibrate known --detector knn:k=1 --acceptance .8 --features head --seed 1 --out out
guard run --calibrate known --acceptance .7 --confidence .5 --per-class --tune-on flies --out out
guard module:own:make?weights=own.pt&size=16 --mean .5,.5,.5 --std 1,1,1 --train train --val-fraction .3 \
--calibrate known --detector energy --acceptance .8 --skip-corrupt --out out
predict guard test/ant/0.png fog --top 2
predict guard zip:photos.zip?inside=test --fdr .3 --out out.csv
predict guard flies --html out.html --html-images 2 --train train --out out.jsonl
monitor guard verdicts.csv --alpha .1 --state out.json
evaluate --guard guard --test test --near flies=flies --far fog=fog --out out.html
export guard --verify test --out out.onnx
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
zip:photos.zip zip:bugs.tar zip:noise wds:shard.tar wds:bugs.zip wds:bugs.tar.gz wds:shard-{0..9}.tar
wds:{0..999999}.tar csv:hot.csv@train?labels=ant,bee csv:hot.csv@train?label=who group=who group=path:( labels=ant
group=path:x rows=who:x own.pt own.onnx own.pt2 own.py pt2:own.ts torchscript:own.pt2 module:own:make module:own:x
module:own onnx:own.pt vit hf:vit hf:clip clip:vit run:run run:empty timm:test_resnet?weights=none
timm:test_resnet.x backbone:x weights=own.pt
guard guard/guard.json guard/classifier.safetensors verdicts.csv known out.pt2 out.parquet energy:x=1 ood_head auto
weights=none weights=timm.pt#x weights=noise head=x features=x output=1 size=0 size=99999 channels=1 channels=0,1,9
mean=0 std=0,0,0 std=-1 classes=classes.txt template={x} crop=9 inside=x image=jpg balanced ignore
--epochs --help --nosuch --data --out --seed=x --no-resume -q --version
"""), "x" * 300, "x/" * 2500, "folder:" + "x" * 5000, "9" * 5000, "\udcff"]  # fmt: skip

#: What parts a word into parts, such as those of a spec.
_PARTED = re.compile(r"([:?&=,@/])")


@st.composite
def wrong_lines(draw: st.DrawFn, line: str) -> list[str]:
    """A command line with one to three mistakes."""
    words = line.split()
    wrong = st.sampled_from(WORDS) | st.text(st.characters(codec="utf-8", exclude_characters="/\0"), max_size=12)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(1, max(1, len(words) - 1)))
        match draw(st.sampled_from(["part", "part", "replace", "replace", "replace", "remove", "double", "insert"])):
            case "part" if len(parts := _PARTED.split("".join(words[place : place + 1]))) > 1:
                part = draw(st.integers(0, len(parts) - 1))
                parts[part : part + 1] = draw(
                    st.sampled_from([[], parts[part : part + 2] * 2]) | wrong.map(lambda w: [w])
                )
                words[place] = "".join(parts)
            case "part" | "replace":
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

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from outskirts.errors import MissingExtra, OutskirtsError
from outskirts.models import clip
from outskirts.models.backbones import build_backbone, native_size
from outskirts.models.clip import TEMPLATES, clip_backbone, prompts, text_prototypes


@pytest.fixture(scope="module")
def whole(clip_folder):
    """The model as the library itself loads it."""
    from transformers import CLIPModel

    return CLIPModel.from_pretrained(clip_folder).eval()


def embeddings(found):
    """Tensors in earlier versions of the library, since then an output with the projection as its pooled part."""
    return found if isinstance(found, torch.Tensor) else found.pooler_output


@pytest.fixture
def copied(clip_folder, tmp_path):
    return shutil.copytree(clip_folder, tmp_path / "copy")


@pytest.fixture
def images():
    return torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("frozen", [0, 2, 4])
def test_trunk_and_tail_are_the_whole(clip_folder, whole, images, frozen):
    tower = clip_backbone(f"clip:{clip_folder}?frozen={frozen}").network.eval()
    with torch.no_grad():
        expected = embeddings(whole.get_image_features(pixel_values=images))
        tokens = tower.tokens(images)
        hidden = whole.vision_model(pixel_values=images, output_hidden_states=True).hidden_states[frozen]
        assert torch.allclose(tower(images), expected, atol=1e-6)
        assert torch.equal(tower(tokens), tower(images))
    assert tokens.shape == (5, 1, 17, 32) and torch.allclose(tokens[:, 0], hidden, atol=1e-6)


def test_all_but_two_blocks_are_frozen(clip_folder, images):
    backbone = clip_backbone(f"clip:{clip_folder}")
    tower = backbone.network
    assert (tower.frozen, backbone.dim, backbone.transform.trunk) == (2, 16, tower.trunk_name)
    trained = {name for name, parameter in tower.named_parameters() if parameter.requires_grad}
    assert {name.partition(".")[0] for name in trained} == {"blocks", "norm", "projection"}
    tower.train()
    assert tower.blocks.training and not any(part.training for part in tower.trunk.modules())
    images.requires_grad_()
    assert tower(images).square().sum().backward() is None and images.grad.any()


def test_a_trunk_is_not_trained(clip_folder):
    tower = clip_backbone(f"clip:{clip_folder}").network
    tower.trunk.requires_grad_(True)
    with pytest.raises(OutskirtsError, match=r"first 2 blocks .* are frozen.*frozen=N"):
        tower.train()


def test_a_tower_is_rebuilt_from_its_name(copied, images):
    tower = clip_backbone(f"clip:{copied}?frozen=1").network.eval()
    shutil.rmtree(copied)
    rebuilt = build_backbone(tower.name, 3, 32)
    rebuilt.network.load_state_dict(tower.state_dict())
    assert torch.equal(rebuilt.network.eval()(images), tower(images))
    assert (rebuilt.dim, rebuilt.name, rebuilt.network.trunk_name) == (16, tower.name, tower.trunk_name)


def test_trunks_are_told_apart(clip_folder):
    towers = [clip_backbone(f"clip:{clip_folder}?frozen={frozen}").network for frozen in (2, 3, 2)]
    towers[2].trunk.norm.weight.data[0] += 1
    assert len({tower.trunk_name for tower in towers}) == 3
    towers[0].projection.weight.data.zero_()
    assert towers[0].trunk_name == clip_backbone(f"clip:{clip_folder}").network.trunk_name


def test_the_transform_is_the_folders(clip_folder):
    from transformers import CLIPImageProcessor

    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    transform = clip_backbone(f"clip:{clip_folder}").transform
    expected = CLIPImageProcessor.from_pretrained(clip_folder)(Image.fromarray(pixels), return_tensors="pt")
    found = transform.device(transform.host(torch.from_numpy(pixels).permute(2, 0, 1))[None])
    # Within a level of grey: some versions of the library resize with Pillow.
    assert torch.allclose(found, expected.pixel_values, atol=1.01 / 255 / min(transform.std))


def test_half_precision_weights_become_full(copied, whole, images):
    whole_half = type(whole)(whole.config).half()
    whole_half.load_state_dict(whole.state_dict())
    whole_half.save_pretrained(copied)
    tower = clip_backbone(f"clip:{copied}").network.eval()
    assert {parameter.dtype for parameter in tower.parameters()} == {torch.float32}


def test_prototypes_are_averages_of_text_embeddings(clip_folder, whole):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(clip_folder)
    texts = ["a photo of a polar bear.", "a sketch of a polar bear!"]
    words = tokenizer(texts, padding="max_length", max_length=40, return_tensors="pt")
    with torch.no_grad():
        found = embeddings(whole.get_text_features(**words))
    expected = normalize(normalize(found, dim=1).mean(0), dim=0)
    prototypes = text_prototypes(clip_folder, ["crow", "polar_bear"], "a photo of a {}. | a sketch of a {}!")
    assert torch.allclose(prototypes[1], expected, atol=1e-6)
    assert torch.allclose(prototypes.norm(dim=1), torch.ones(2))
    assert not torch.allclose(prototypes[0], prototypes[1], atol=1e-2)


def test_the_published_templates():
    assert len(set(TEMPLATES["ensemble"])) == 18
    assert {"a blurry photo of the {}.", "a photo of the small {}.", "a photo of a big {}."} < {*TEMPLATES["ensemble"]}
    assert prompts(["great_auk"], "photo") == [["a photo of a great auk"]]
    assert prompts(["a{}b"], "{}") == [["a{}b"]]


@pytest.mark.parametrize("templates", ["a photo", "photos", "{} and {}", "a {}.|", ""])
def test_a_template_has_one_place_for_the_name(templates):
    with pytest.raises(OutskirtsError, match=r"must have one \{\}.*ensemble, photo"):
        prompts(["cat"], templates)


def test_a_folder_without_tokenizer(copied):
    (copied / "vocab.json").unlink()
    clip_backbone(f"clip:{copied}")
    with pytest.raises(OutskirtsError, match=r"copy has no tokenizer, which reads the class names; put"):
        text_prototypes(copied, ["cat"])


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"bos_token": "a\nb"}, r"does not know the token 'a\\nb'"),
        ({"pad_token": "zz"}, "does not know the token 'zz'"),
    ],
)
def test_tokens_that_the_encoder_does_not_know(copied, about, said):
    (copied / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer", **about}))
    with pytest.raises(OutskirtsError, match=said):
        text_prototypes(copied, ["cat", "a long one"])


def test_a_class_name_that_is_too_long(clip_folder):
    with pytest.raises(OutskirtsError, match="too long for this CLIP model, which reads 64 tokens"):
        text_prototypes(clip_folder, ["cat", "x" * 70])


def changed(folder, file, **entries):
    about = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**about, **entries}))


def test_bad_names(clip_folder):
    for name, sentence in {
        "clip:": r"There is no CLIP folder ''; write clip:DIR",
        "clip:nowhere": "There is no CLIP folder 'nowhere'",
        f"clip:{clip_folder}?freeze=2": "'freeze=2' .* is not an option",
        f"clip:{clip_folder}?frozen=two": "'frozen=two' .* is not an option",
        f"clip:{clip_folder}?frozen=5": "of 4 blocks; 5 cannot be frozen",
    }.items():
        with pytest.raises(OutskirtsError, match=sentence):
            build_backbone(name, 3, 32)
    assert native_size(f"clip:{clip_folder}?frozen=1") == 32
    with pytest.raises(OutskirtsError, match="takes images of 32 pixels, not of 64"):
        build_backbone(f"clip:{clip_folder}", 3, 64)
    with pytest.raises(OutskirtsError, match="its own weights"):
        build_backbone(f"clip:{clip_folder}", 3, 32, pretrained=True)


def test_bad_folders(copied):
    (copied / "model.safetensors").rename(copied / "weights")
    with pytest.raises(OutskirtsError, match=r"CLIP folder .* cannot be read \(.* no file named"):
        clip_backbone(f"clip:{copied}")
    (copied / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(OutskirtsError, match="cannot be read"):
        clip_backbone(f"clip:{copied}")
    (copied / "weights").rename(copied / "model.safetensors")
    changed(copied, "preprocessor_config.json", crop_size=24)
    with pytest.raises(OutskirtsError, match=r"preprocessor_config\.json asks for a preprocessing .* 32 pixels"):
        clip_backbone(f"clip:{copied}")
    (copied / "preprocessor_config.json").unlink()
    with pytest.raises(OutskirtsError, match=r"preprocessor_config\.json is missing"):
        clip_backbone(f"clip:{copied}")
    changed(copied, "config.json", model_type="siglip")
    with pytest.raises(OutskirtsError, match="holds a model of the kind 'siglip'; a CLIP folder's is 'clip'"):
        clip_backbone(f"clip:{copied}")


def test_missing_weights_are_told(copied, whole):
    state = {k: v for k, v in whole.state_dict().items() if k != "visual_projection.weight"}
    whole.save_pretrained(copied, state_dict=state)
    with pytest.raises(OutskirtsError, match=r"lack visual_projection\.weight"):
        clip_backbone(f"clip:{copied}")


def test_the_library_is_an_extra(clip_folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(MissingExtra, match=r"outskirts\[clip\]"):
        clip_backbone(f"clip:{clip_folder}")


@pytest.mark.parametrize("change", [{"resample": {}}, {"crop_size": {"height": {"x": 1}, "width": 32}}, {"size": "32"}])
def test_a_preprocessing_that_is_of_other_kinds(clip_folder, tmp_path, change):
    folder = tmp_path / "clip"
    shutil.copytree(clip_folder, folder)
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(OutskirtsError, match=r"preprocessor_config\.json is damaged: its"):
        clip_backbone(f"clip:{folder}")


def test_the_library_stays_quiet(clip_folder, capfd):
    from transformers.utils import logging

    logging.enable_progress_bar()
    clip_backbone(f"clip:{clip_folder}")
    text_prototypes(clip_folder, ["cat"])
    assert capfd.readouterr() == ("", "")
    assert logging.is_progress_bar_enabled()
    assert clip.PREFIX == "clip:"

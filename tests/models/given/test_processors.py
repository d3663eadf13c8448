"""The transform of a folder of transformers is that of its image processor, or the folder is refused."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from outskirts.errors import OutskirtsError
from outskirts.models.given import given_backbone, given_classifier, parse_model
from outskirts.models.given.processors import processor_transform

transformers = pytest.importorskip("transformers")

SQUARE = {"height": 32, "width": 32}
CROP = {"size": {"shortest_edge": 36}, "crop_size": SQUARE}
ALL = "size=32&mean=0.1,0.2,0.3&std=1,1,1&interpolation=bilinear&fit=squash&crop=1"
#: Smooth, so that half a pixel more or less in the rounding of a side is little.
PICTURE = Image.fromarray((np.random.default_rng(0).random((5, 4, 3)) * 255).astype("uint8")).resize((61, 97))


def kept(folder, kind, **options):
    """The processor of a kind, saved into a folder."""
    processor = getattr(transformers, f"{kind}ImageProcessor")(**options)
    processor.save_pretrained(folder)
    return processor


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("ViT", {"size": SQUARE}),
        ("ViT", {"size": SQUARE, "do_normalize": False}),
        ("ViT", {"size": SQUARE, "do_rescale": False, "image_mean": [127] * 3, "image_std": [58, 59, 60]}),
        ("ViT", {"size": SQUARE, "rescale_factor": 1 / 127.5, "image_mean": [1] * 3, "image_std": [1] * 3}),
        ("ConvNext", {"size": {"shortest_edge": 224}, "crop_pct": 0.875}),
        ("ConvNext", {"size": {"shortest_edge": 384}, "crop_pct": 0.875}),
        ("DeiT", {"size": {"height": 36, "width": 36}, "crop_size": SQUARE}),
        ("Bit", CROP),
        ("Siglip", {"size": SQUARE}),
        ("CLIP", {"size": {"shortest_edge": 32}, "crop_size": SQUARE}),
        ("MobileNetV2", CROP),
    ],
)
def test_a_transform_does_what_its_processor_does(kind, options, tmp_path):
    processor = kept(tmp_path, kind, **options)
    transform = processor_transform(tmp_path, parse_model(f"hf:{tmp_path}"))
    pixels = torch.as_tensor(processor(images=PICTURE, return_tensors="pt")["pixel_values"])
    ours = transform.device(transform.host(torch.from_numpy(np.array(PICTURE)).permute(2, 0, 1))[None])
    levels = 255 * torch.tensor(transform.std).view(-1, 1, 1)
    assert ours.shape == pixels.shape and ((ours - pixels) * levels).abs().mean() < 3
    larger = processor_transform(tmp_path, parse_model(f"hf:{tmp_path}?size={2 * transform.size}"))
    assert (larger.size, larger.resident_size) == (2 * transform.size, 2 * transform.resident_size)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("MobileViT", CROP),
        ("Levit", CROP),
        ("ViT", {"size": SQUARE, "resample": 0}),
        ("EfficientNet", {"size": SQUARE, "resample": 3, "include_top": True}),
    ],
)
def test_a_processor_that_does_something_else_is_refused_until_all_is_stated(kind, options, tmp_path):
    kept(tmp_path, kind, **options)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.ViTConfig(**shape, image_size=32, patch_size=8)
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path)
    with pytest.raises(OutskirtsError, match=rf"not known here: that of {kind}ImageProcessor.* say all of what"):
        given_classifier(parse_model(f"hf:{tmp_path}?size=32&mean=0.1,0.2,0.3&std=1,1,1"))
    transform = given_classifier(parse_model(f"hf:{tmp_path}?{ALL}")).transform
    assert (transform.size, transform.mean, transform.fit) == (32, (0.1, 0.2, 0.3), "squash")
    assert given_backbone(f"hf:{tmp_path}", transform).dim == 16, "a run that trained it on knows its transform"


def test_a_processor_that_cannot_be_made_is_refused(tmp_path):
    about = {"image_processor_type": "OwnImageProcessor", "size": SQUARE}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(about))
    with pytest.raises(OutskirtsError, match=r"not known here: The folder .* cannot be read .*say all of what"):
        processor_transform(tmp_path, parse_model(f"hf:{tmp_path}"))
    assert processor_transform(tmp_path, parse_model(f"hf:{tmp_path}?{ALL}")) is None

"""What a model's folder brings is data: none of it is run, whatever the versions of the libraries."""

import json
import subprocess
import sys

import pytest

from outskirts.errors import OutskirtsError
from outskirts.models.pipeline_folder import require_no_code

PLAIN = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.30.0",
    "unet": ["diffusers", "UNet2DConditionModel"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "feature_extractor": [None, None],
    "requires_safety_checker": True,
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "unet").mkdir()

    def make(**changed):
        (tmp_path / "model_index.json").write_text(json.dumps({**PLAIN, **changed}))
        return tmp_path

    make()
    return make


def test_folders_of_known_classes_pass(folder):
    require_no_code(folder())
    require_no_code(folder(unet=["diffusers", "UNet2DModel"]))


@pytest.mark.parametrize(
    "changed",
    [
        {"_class_name": ["evil", "Pipeline"]},
        {"_class_name": "load_image"},
        {"_class_name": "pipelines.evil"},
        {"_class_name": None},
    ],
)
def test_foreign_pipelines_are_refused(folder, changed):
    with pytest.raises(OutskirtsError, match="must name a pipeline of diffusers as _class_name"):
        require_no_code(folder(**changed))


@pytest.mark.parametrize(
    "part",
    [
        ["os", "System"],
        ["evil", "Unet"],
        ["diffusers.utils", "Unet"],
        ["stable_diffusion", "Another"],
        ["transformers", "pipeline"],
        ["diffusers", "a.B"],
        ["diffusers"],
        ["diffusers", ["x"]],
        [["diffusers"], "Unet"],
    ],
)
def test_foreign_parts_are_refused(folder, part):
    with pytest.raises(OutskirtsError, match=r"makes the part 'unet' of .*only classes of diffusers and transformers"):
        require_no_code(folder(unet=part))


@pytest.mark.parametrize("name", ["evil.py", "unet/diffusers.py", "unet/X.PY", "unet/lib.so"])
def test_code_is_refused_wherever_it_lies(folder, name):
    (folder() / name).write_text("")
    with pytest.raises(OutskirtsError, match=r"holds code .*is not run here"):
        require_no_code(folder())


def test_code_of_parts_and_of_pipelines_within_is_refused(folder):
    (folder() / "unet" / "config.json").write_text('{"auto_map": {"AutoModel": "evil.Model"}}')
    with pytest.raises(OutskirtsError, match="asks for code of its own"):
        require_no_code(folder())
    (folder() / "unet" / "config.json").unlink()
    (folder() / "unet" / "model_index.json").write_text('{"_class_name": "Pipeline", "x": ["evil", "X"]}')
    with pytest.raises(OutskirtsError, match="makes the part 'x'"):
        require_no_code(folder())


def test_what_is_no_pipeline_is_told(tmp_path, folder):
    with pytest.raises(OutskirtsError, match=r"it has no model_index.json"):
        require_no_code(tmp_path / "unet")
    (tmp_path / "model_index.json").write_text("[1]")
    with pytest.raises(OutskirtsError, match="must name a pipeline"):
        require_no_code(tmp_path)


def test_it_is_refused_before_anything_is_imported(folder):
    check = (
        "import sys\nfrom outskirts.generation.generators.pipeline import _loaded\nimport torch\n"
        "try:\n    _loaded(sys.argv[1], torch.device('cpu'))\nexcept Exception as error:\n    print(error)\n"
        "print('diffusers' in sys.modules, 'transformers' in sys.modules)"
    )
    where = folder(unet=["evil", "Unet"])
    done = subprocess.run([sys.executable, "-c", check, str(where)], capture_output=True, text=True, check=True)
    assert "makes the part 'unet'" in done.stdout and done.stdout.endswith("False False\n")

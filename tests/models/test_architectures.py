"""Which head is found in the architectures of timm and torchvision, all of them without published weights.

The columns are the architecture, the side of its images in pixels, the kind of head, and the width of its features:

=======  ===============================================================================================
linear   a linear layer makes the logits of the features
nearest  the logits go along with the features, beside the linear layer that is nearest to them
carried  the logits go along with the features, and there is no linear layer
none     the architecture gives features, and `outskirts.models.given` opens it without being told
=======  ===============================================================================================
"""

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from outskirts.models.adapter import adapt
from outskirts.models.given import given_classifier, parse_model
from outskirts.models.heads import CarriedHead, LinearHead, NoHead
from outskirts.models.libraries import is_of_library, library_model
from outskirts.models.splits import same_answer
from outskirts.seeding import isolated

QUICK = """
timm:cait_xxs24_224                       64  linear    192
timm:coat_tiny                            64  linear    152
timm:convit_tiny                          64  linear    192
timm:convnext_atto                        64  linear    320
timm:convnextv2_atto                      64  linear    320
timm:cpubone_nano                         64  linear   1600
timm:crossvit_tiny_240                   240  linear    288  two heads, each on a token of its own
timm:cs3darknet_focus_s                   64  linear    512
timm:csatv2                               64  linear    386
timm:cspnext_tiny                         64  linear    384
timm:deit_tiny_distilled_patch16_224      64  linear    384  two heads, each on a token of its own
timm:deit_tiny_patch16_224                64  linear    192
timm:densenet121                          64  linear   1024
timm:dla34                                64  linear    512  a convolution of 1×1
timm:dpn68                                64  linear    832  a convolution of 1×1
timm:eca_botnext26ts_256                  64  linear   2048
timm:edgenext_x_small                     64  linear    192
timm:efficientformerv2_s0                 64  linear    176  two heads on the same features
timm:efficientvim_m1                      64  linear    960  four heads, each on the map of a stage
timm:efficientvit_b0                      64  linear   1280
timm:efficientvit_m0                      64  linear    192
timm:fasternet_t0                         64  linear   1280
timm:gcvit_xxtiny                         64  linear    512
timm:gernet_s                             64  linear   1920
timm:ghostnet_050                         64  linear   1280
timm:gmlp_ti16_224                        64  linear    128
timm:hardcorenas_b                        64  linear   1280
timm:hgnetv2_b0                           64  linear   2048
timm:hrnet_w18_small                      64  linear   2048
timm:iformer_t                            64  linear    256
timm:inception_next_atto                  64  linear    960
timm:lcnetv2_small                        64  linear   1280
timm:legacy_seresnet18                    64  linear    512
timm:levit_128                            64  linear    384  two heads on the same features
timm:lowformer_b0                         64  linear   1600
timm:maxvit_pico_rw_256                   64  linear    256
timm:mobilenetv3_small_050                64  linear   1024
timm:mobilenetv4_conv_small_050           64  linear   1280
timm:mobilevit_xxs                        64  linear    320
timm:mobilevitv2_050                      64  linear    256
timm:pit_ti_224                           64  linear    256
timm:pvt_v2_b0                            64  linear    256
timm:regnetx_004_tv                       64  linear    400
timm:repghostnet_050                      64  linear   1280
timm:repvit_m1                            64  linear    384  two heads in one module
timm:resnest14d                           64  linear   2048
timm:resnetv2_18                          64  linear    512  a convolution of 1×1
timm:rexnet_100                           64  linear   1280
timm:shvit_s1                             64  linear    320
timm:skresnet18                           64  linear    512
timm:starnet_s050                         64  linear    128
timm:swiftformer_xs                       64  linear    220  two heads on the same features
timm:swinv2_cr_tiny_224                   64  linear    768
timm:test_byobnet                         64  linear    256
timm:test_efficientnet                    64  linear    256
timm:test_mambaout                        64  linear    256
timm:test_nfnet                           64  linear    192
timm:test_resnet                          64  linear     96
timm:test_vit                             64  linear     64
timm:test_vit_relpos                      64  linear     96
timm:visformer_tiny                       64  linear    384
timm:vit_tiny_r_s16_p8_224                64  linear    192
timm:vit_xsmall_patch16_clip_224          64  linear    256
timm:volo_d1_224                          64  carried   384  the maximum of tokens is added to the logits
timm:xcit_nano_12_p8_224                  64  linear    128
timm:eva02_tiny_patch14_224               64  none      192
timm:vit_small_patch14_dinov2             64  none      384
timm:vit_small_patch16_224.dino           64  none      384
timm:vit_small_patch16_dinov3             64  none      384
torchvision:densenet121                   64  linear   1024
torchvision:efficientnet_b0               64  linear   1280
torchvision:googlenet                     64  linear   1024
torchvision:mnasnet0_5                    64  linear   1280
torchvision:mobilenet_v2                  64  linear   1280
torchvision:mobilenet_v3_small            64  linear   1024
torchvision:regnet_x_400mf                64  linear    400
torchvision:regnet_y_400mf                64  linear    440
torchvision:resnet18                      64  linear    512
torchvision:shufflenet_v2_x0_5            64  linear   1024
torchvision:squeezenet1_1                 64  nearest   512  a convolution of 1×1, then a ReLU
"""

SLOW = """
timm:beit_base_patch16_224                64  linear    768
timm:caformer_s18                         64  linear   2048  a hidden layer in the head
timm:convmixer_768_32                     64  linear    768
timm:davit_tiny                           64  linear    768
timm:efficientformer_l1                  224  linear    448  two heads on the same features
timm:fastvit_t8                           64  linear    768
timm:focalnet_tiny_srf                    64  linear    768
timm:halonet26t                          256  linear   2048
timm:hiera_tiny_224                       64  linear    768
timm:inception_resnet_v2                  96  linear   1536
timm:inception_v3                         96  linear   2048
timm:inception_v4                         96  linear   1536
timm:lambda_resnet26t                    128  linear   2048
timm:legacy_xception                      64  linear   2048
timm:mobilenetv5_base                     64  linear   2048
timm:mvitv2_tiny                          64  linear    768
timm:naflexvit_base_patch16_gap           64  linear    768
timm:nasnetalarge                         64  linear   4032
timm:nest_tiny                            64  linear    384
timm:nextvit_small                        64  linear   1024
timm:pnasnet5large                        64  linear   4320
timm:rdnet_tiny                           64  linear   1040
timm:res2net50_14w_8s                     64  linear   2048
timm:resnet50_clip.openai                 64  carried  2048  attention makes the logits
timm:resnetv2_50x1_bit                    64  linear   2048  a convolution of 1×1
timm:selecsls42                           64  linear   1280
timm:sequencer2d_s                        64  linear    384
timm:swin_tiny_patch4_window7_224         64  linear    768
timm:swinv2_tiny_window8_256              64  linear    768
timm:tiny_vit_5m_224                      64  linear    320
timm:tnt_s_legacy_patch16_224             64  linear    384
timm:tresnet_m                            64  linear   2048
timm:twins_svt_small                      64  linear    512
timm:vgg11                                64  linear   4096
timm:vitamin_small_224                    64  linear    384
timm:vovnet39a                            64  linear   1024
timm:xception41                           64  linear   2048
timm:convnext_tiny.dinov3_lvd1689m        64  none      768
timm:qwen3_vit_88m                        64  none      768
timm:sam2_hiera_tiny                      64  none      768
timm:samvit_base_patch16                  64  none      256
torchvision:alexnet                       64  linear   4096
torchvision:convnext_tiny                 64  linear    768
torchvision:efficientnet_v2_s             64  linear   1280
torchvision:inception_v3                  96  linear   2048
torchvision:maxvit_t                     224  linear    512
torchvision:resnext50_32x4d               64  linear   2048
torchvision:swin_t                        64  linear    768
torchvision:swin_v2_t                     64  linear    768
torchvision:vgg11                         64  linear   4096
torchvision:vgg11_bn                      64  linear   4096
torchvision:vit_b_16                     224  linear    768
torchvision:wide_resnet50_2               64  linear   2048
"""

CLASSES = 10
#: These show the features of several stages, whose shares in the logits are part of the head.
FIRST_PARAMETER_IN_HEAD = ("timm:efficientvim_m1",)


def cases(table, *marks):
    for line in table.strip().splitlines():
        name, side, kind, width, *_ = line.split()
        yield pytest.param(name, int(side), kind, int(width), marks=marks, id=name)


def make(name, side, classes):
    with isolated(0, "architectures"):
        return library_model(name, 3, side, classes=classes)


def lived_in(model, images):
    """With statistics of batches as after training, and nothing that is constant, such as a head of zeros."""
    with isolated(1, "architectures"), torch.no_grad():
        for parameter in model.parameters():
            if parameter.numel() > 1 and parameter.min() == parameter.max():
                parameter += 0.05 * torch.randn_like(parameter)
        for part in model.modules():
            if isinstance(part, _BatchNorm):
                part.momentum = None
        model.train()(images)
    return model


def kind_of(head):
    if isinstance(head, CarriedHead):
        return "carried" if head.linear is None else "nearest"
    assert isinstance(head, LinearHead)
    return "linear" if isinstance(head.inputs, nn.Identity) else "cosines"


def pictures(side, seed):
    return torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(seed))


def check(name, side, kind, width):
    images = pictures(side, 0)
    model = lived_in(make(name, side, CLASSES), pictures(side, 1))
    first = next(model.parameters())
    with torch.no_grad():
        expected = model.eval()(images)
    backbone, head = adapt(model.train(), torch.zeros(2, 3, side, side))
    assert all(part.training for whole in (backbone.network, head) for part in whole.modules())
    backbone.network.eval(), head.eval()
    features = backbone.network(images)
    own = head.space(features, "head")[0] if isinstance(head, CarriedHead) else features
    assert (kind_of(head), *own.shape) == (kind, 3, width)
    assert features.shape == (3, backbone.dim) and width > CLASSES
    logits = head(features)
    assert same_answer(logits, expected.flatten(1)) and logits.std() > 1e-6
    logits[:, 0].sum().backward()
    assert (first.grad is None) == (name in FIRST_PARAMETER_IN_HEAD), "training must reach the first layer"


def check_headless(name, side, width):
    images = pictures(side, 0)
    with torch.no_grad():
        expected = make(name, side, None).eval()(images)
        with isolated(0, "architectures"):
            classifier = given_classifier(parse_model(f"{name}?weights=none&size={side}"))
        features = classifier.backbone(images)
    assert isinstance(classifier.head, NoHead) and features.shape == (3, width)
    torch.testing.assert_close(features, expected.flatten(1))


@pytest.mark.parametrize(("name", "side", "kind", "width"), [*cases(QUICK), *cases(SLOW, pytest.mark.slow)])
def test_the_head_of_an_architecture(name, side, kind, width):
    if not is_of_library(name):
        pytest.skip(f"this version of the library has no {name}")
    if kind == "none":
        check_headless(name, side, width)
    else:
        check(name, side, kind, width)

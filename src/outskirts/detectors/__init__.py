"""Post-hoc detectors: one file each, found by name (``registry["knn"]``) or by class (``detectors.KNN``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..extraction.probes import FeatureProbe, Probe
from .base import Detector, choices, create, register, registry

__all__ = ["Detector", "FeatureProbe", "Probe", "choices", "create", "register", "registry"]

if TYPE_CHECKING:
    # For type checkers and editors, which cannot look into the registry; `tests/test_typed.py` compares the two.
    from .adascale import AdaScale as AdaScale
    from .ash import ASH as ASH
    from .combination import Combination as Combination
    from .dice import DICE as DICE
    from .dropout import Dropout as Dropout
    from .energy import Energy as Energy
    from .ensemble import Ensemble as Ensemble
    from .entropy import Entropy as Entropy
    from .fdbd import FDBD as FDBD
    from .gaussian_mixture import GaussianMixture as GaussianMixture
    from .gen import GEN as GEN
    from .godin import GODINScore as GODINScore
    from .gradnorm import GradNorm as GradNorm
    from .gram import Gram as Gram
    from .iodin import IODIN as IODIN
    from .joint_energy import JointEnergy as JointEnergy
    from .kl_matching import KLMatching as KLMatching
    from .knn import KNN as KNN
    from .mahalanobis import Mahalanobis as Mahalanobis
    from .mahalanobis_ensemble import MahalanobisEnsemble as MahalanobisEnsemble
    from .max_logit import MaxLogit as MaxLogit
    from .mcm import MCM as MCM
    from .msp import MSP as MSP
    from .nci import NCI as NCI
    from .neco import NECO as NECO
    from .nnguide import NNGuide as NNGuide
    from .odin import ODIN as ODIN
    from .ood_head import OODHead as OODHead
    from .openmax import OpenMax as OpenMax
    from .per_class import PerClass as PerClass
    from .rankfeat import RankFeat as RankFeat
    from .react import ReAct as ReAct
    from .relation import Relation as Relation
    from .relative_mahalanobis import RelativeMahalanobis as RelativeMahalanobis
    from .residual import Residual as Residual
    from .rotation import Rotation as Rotation
    from .scale import Scale as Scale
    from .she import SHE as SHE
    from .temperature import TemperatureScaledMSP as TemperatureScaledMSP
    from .vim import ViM as ViM
    from .vra import VRA as VRA
else:

    def __getattr__(name: str) -> type[Detector]:
        if not name.startswith("_"):
            for known in registry.names():
                if registry[known].__name__ == name:
                    return registry[known]
        raise AttributeError(f"module 'outskirts.detectors' has no detector class '{name}'")


def __dir__() -> list[str]:
    return sorted([*__all__, *(registry[name].__name__ for name in registry.names())])

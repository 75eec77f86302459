"""A study's YAML file as checked, frozen models, with errors that name file, key and remedy.

Importing this package loads neither torch, Ray, Optuna nor MLflow; only :func:`check_names` and
:func:`check_images`, which look up models, balancers and datasets, import the core.
"""

from study.spec.arms import ArmSpec, BalancerSpec, PrunerSpec, SamplerSpec, SearchSpec
from study.spec.difference import Difference, difference
from study.spec.distributions import Choice, Distribution, FloatRange, IntRange
from study.spec.errors import SpecError
from study.spec.evaluation import DISTANCES, OBJECTIVES, EvaluationSpec, SecondStageSpec
from study.spec.images import check_images, training_steps
from study.spec.loading import load_spec
from study.spec.models import (
    CheckpointsSpec,
    DataSpec,
    EnginesSpec,
    ModelSpec,
    StudySpec,
    TrainingSpec,
)
from study.spec.names import check_names
from study.spec.options import PRUNERS, SAMPLERS
from study.spec.resolving import REDUCTIONS, half_sum_beta

__all__ = [
    "DISTANCES",
    "OBJECTIVES",
    "PRUNERS",
    "REDUCTIONS",
    "SAMPLERS",
    "ArmSpec",
    "BalancerSpec",
    "CheckpointsSpec",
    "Choice",
    "DataSpec",
    "Difference",
    "Distribution",
    "EnginesSpec",
    "EvaluationSpec",
    "FloatRange",
    "IntRange",
    "ModelSpec",
    "PrunerSpec",
    "SamplerSpec",
    "SearchSpec",
    "SecondStageSpec",
    "SpecError",
    "StudySpec",
    "TrainingSpec",
    "check_images",
    "check_names",
    "difference",
    "half_sum_beta",
    "load_spec",
    "training_steps",
]

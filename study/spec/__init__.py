"""A study's YAML file as checked, frozen models, with errors that name file, key and remedy.

Importing this package loads neither torch, Ray, Optuna nor MLflow; only :func:`check_names`,
:func:`check_images`, :func:`check_splits`, :func:`arm_roles` and :func:`unfinished`, which look up
models, balancers and datasets, import the core.
"""

from study.spec.arms import ArmSpec, BalancerSpec, PrunerSpec, SamplerSpec, SearchSpec
from study.spec.begun import Begun, last_description
from study.spec.conventions import LIBRARIES, NO_EQUIVALENT, Convention, Geometry
from study.spec.difference import SpecChanges, difference
from study.spec.distributions import Choice, Distribution, FloatRange, IntRange
from study.spec.errors import SpecError
from study.spec.evaluation import EvaluationSpec, SecondStageSpec
from study.spec.fairness import warnings
from study.spec.images import check_images, check_splits, training_steps
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
from study.spec.resolving import converted, resolve
from study.spec.roles import arm_roles
from study.spec.schedules import unfinished

__all__ = [
    "LIBRARIES",
    "NO_EQUIVALENT",
    "PRUNERS",
    "SAMPLERS",
    "ArmSpec",
    "BalancerSpec",
    "Begun",
    "CheckpointsSpec",
    "Choice",
    "Convention",
    "DataSpec",
    "Distribution",
    "EnginesSpec",
    "EvaluationSpec",
    "FloatRange",
    "Geometry",
    "IntRange",
    "ModelSpec",
    "PrunerSpec",
    "SamplerSpec",
    "SearchSpec",
    "SecondStageSpec",
    "SpecChanges",
    "SpecError",
    "StudySpec",
    "TrainingSpec",
    "arm_roles",
    "check_images",
    "check_names",
    "check_splits",
    "converted",
    "difference",
    "last_description",
    "load_spec",
    "resolve",
    "training_steps",
    "unfinished",
    "warnings",
]

"""Arms as Optuna studies: what to try next, and what is known."""

from study.search.conductor import Conductor
from study.search.request import Request

__all__ = ["Conductor", "Request"]

"""Arms as Optuna studies: what to try next, and what is known."""

from study.search.conductor import Conductor, Request
from study.search.phases import Ask

__all__ = ["Ask", "Conductor", "Request"]

"""MLflow, as a view of a study: written from its journal, never waited for, never read back.

``check`` and ``ui`` are for the command line, ``MlflowWriter`` for the driver, ``run_links`` for
reports. Importing this package does not import MLflow (seconds); the writer's thread does.
"""

from study.tracking.store import TrackingError, check, tracking_uri
from study.tracking.ui import run_links, ui
from study.tracking.writer import MlflowWriter

__all__ = ["MlflowWriter", "TrackingError", "check", "run_links", "tracking_uri", "ui"]

"""MLflow, as a view of a study: written from its journal, never waited for, never read back.

``check`` and ``serve_ui`` are for the command line, ``MlflowWriter`` is for the driver, and
``run_links`` for reports. Importing this package does not import MLflow, which takes seconds; only
the writer's thread does.
"""

from study.tracking.database import TrackingError
from study.tracking.store import check, tracking_uri
from study.tracking.ui import run_links, serve_ui
from study.tracking.writer import MlflowWriter

__all__ = ["MlflowWriter", "TrackingError", "check", "run_links", "serve_ui", "tracking_uri"]

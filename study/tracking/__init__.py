"""MLflow, as a view of a study: written from its journal, never waited for, never read back.

``check``, ``check_name`` and ``serve_ui`` are for the command line, ``MlflowWriter`` is for the
driver, and ``run_links`` for reports. Importing this package does not import MLflow, which takes
seconds; only the writer's thread does.
"""

from study.tracking.experiment import check_name
from study.tracking.store import TrackingError, check, tracking_uri
from study.tracking.ui import run_links, serve_ui
from study.tracking.writer import MlflowWriter

__all__ = [
    "MlflowWriter",
    "TrackingError",
    "check",
    "check_name",
    "run_links",
    "serve_ui",
    "tracking_uri",
]

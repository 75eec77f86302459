"""MLflow, as a view of a study: written from its journal, never waited for, never read back.

``serve_ui`` is for the command line, ``check``, ``check_name`` and ``probe_store`` are for the
driver, ``MlflowWriter`` for the process beside it, ``view_links`` and ``run_links`` for whatever
links to MLflow's pages. Importing this package does not import MLflow, which takes seconds; only
that process does, and ``probe_store`` for a server.
"""

from study.tracking.database import TrackingError
from study.tracking.experiment import check_name
from study.tracking.probe import probe_store
from study.tracking.store import check, load_mlflow, tracking_uri
from study.tracking.ui import HERE, run_links, serve_ui, view_links
from study.tracking.writer import MlflowWriter

__all__ = [
    "HERE",
    "MlflowWriter",
    "TrackingError",
    "check",
    "check_name",
    "load_mlflow",
    "probe_store",
    "run_links",
    "serve_ui",
    "tracking_uri",
    "view_links",
]

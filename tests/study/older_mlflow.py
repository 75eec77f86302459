"""Databases as an older MLflow leaves them, and as a kill does."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from alembic import command
from alembic.config import Config
from mlflow.store import db_migrations
from mlflow.store.tracking.dbmodels.initial_models import Base
from sqlalchemy import create_engine

MLFLOW_2_9 = "acf3f17fdcc7"
"""The revision that MLflow 2.9.2 leaves."""


def make(file: Path) -> None:
    """A database as MLflow 2.9.2 makes it, by the same migrations, with one experiment."""
    engine = create_engine(f"sqlite:///{file}")
    Base.metadata.create_all(engine)
    config = Config()
    config.set_main_option("script_location", str(Path(db_migrations.__file__).parent))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, MLFLOW_2_9)
    engine.dispose()
    change(
        file,
        "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage)"
        " VALUES (1, 'of old', 'file:///nowhere', 'active')",
    )


def break_off(file: Path) -> None:
    """Leave a database of ``make`` as a kill does amid the next migration, after its first step."""
    change(file, "CREATE TABLE trace_info (request_id VARCHAR(50))")


def change(file: Path, statement: str) -> None:
    """Change a database behind MLflow's back."""
    with closing(sqlite3.connect(file)) as opened, opened:
        opened.execute(statement)

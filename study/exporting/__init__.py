"""An arm's best model as a folder, or packed for MLflow."""

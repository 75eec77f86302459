"""An arm's best model as a folder of its own, or packed for MLflow."""

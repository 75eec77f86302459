"""Intervals and estimators. Numbers in, numbers out: nothing here depends on a study."""

"""Intervals and estimators. Numbers in, numbers out: nothing here knows of a study."""

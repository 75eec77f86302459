"""Checks of a machine or a Ray cluster: what a study would meet there."""

"""A search tried on recorded trials, with nothing trained."""

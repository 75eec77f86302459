"""A search policy replayed on recorded trials, without training."""

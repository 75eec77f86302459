"""A report's tables, as strings."""

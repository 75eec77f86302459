"""What a report answers, each from the tables."""

"""A report's figures: charts, their data, and pictures of them."""

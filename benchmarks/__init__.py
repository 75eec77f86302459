"""Exact commands that time the product beside what one would use instead; see README.md."""

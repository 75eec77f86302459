"""A report as text, tables, figures and a page."""

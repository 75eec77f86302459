"""From a study's journal to its report: records < answers < rendering.

Nothing here runs a study. The package imports none of its modules: a launch reads journals long
before it needs statistics.
"""

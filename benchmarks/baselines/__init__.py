"""Programs one would write instead of a study: the same trials, each in its own idiom.

Each is a command, ``python -m benchmarks.baselines.NAME --work digits``; ``benchmarks.studies``
times them beside ``study launch``.
"""

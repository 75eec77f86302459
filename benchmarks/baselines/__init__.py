"""Programs that replace a study: the same trials, each in the idiom of its library.

Each is a command, ``python -m benchmarks.baselines.NAME --work digits``; ``benchmarks.studies``
times them against ``study launch``.
"""

"""ImageNet and downsampled ImageNet: from published files to one store, from a store to batches.

``anneal prepare`` (``prepare``) reads a source once (``sources``, ``zips``), decodes and resizes
(``pixels``), and writes a store (``store``). ``reader`` opens a store as a data set (``split``).
"""

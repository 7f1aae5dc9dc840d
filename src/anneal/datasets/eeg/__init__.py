"""Recordings of brain activity: EDF files, preprocessing, trials.

MNE reads EDF files and is imported only when one is read; moabb downloads them in a process of its
own. What was read is kept as arrays, so that a second start needs neither.
"""

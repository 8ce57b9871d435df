"""The sections, each a module with TITLE and `measure`, a generator of samples."""

NAMES = ("verbs", "growth", "burst")

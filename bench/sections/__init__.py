"""The sections, each a module with TITLE and `measure`, a generator of samples."""

NAMES = ("verbs", "growth", "burst", "ipam", "footprint", "sandbox")

OUTSIDE = ("sandbox",)
"""Those that make their own nodes. The others run in one that is made for them."""

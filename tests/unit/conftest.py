"""What all unit tests share."""

from __future__ import annotations

from hypothesis import settings

# No deadline: how long an example takes says nothing on a machine that does other things, too.
settings.register_profile("unit", deadline=None, max_examples=60, database=None)
settings.load_profile("unit")

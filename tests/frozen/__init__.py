"""Tests of the executable bundle as such: that it starts anywhere, and does what the package does."""

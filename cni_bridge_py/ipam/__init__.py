"""Addresses: which are free, and who holds which.

Nothing here knows of links. Whether a pod is still there, callers say.
"""

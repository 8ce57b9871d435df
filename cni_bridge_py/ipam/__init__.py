"""Addresses: which are free, and who holds which.

Nothing here knows about links: callers say whether a pod is still there.
"""

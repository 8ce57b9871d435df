"""Addresses: which are free, who holds which. Knows nothing of links."""

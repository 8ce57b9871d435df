"""What a person at a node wants to know: what is there, what is wrong with it, and what mends it.

Nothing here prints. Only `mend` changes the node, and `probe` for a moment.
"""

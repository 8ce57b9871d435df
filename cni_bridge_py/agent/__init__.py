"""The process that stays, one a node of a Kubernetes cluster: it keeps the node's pods reachable from all others.

See README.md here for the way through.
"""

"""A CNI plugin that wires pods to a Linux bridge. The verbs are here; the folders have what they are made of.

Imports go downwards: cli and agent, then node and plugin, then wiring, config and ipam, and last kernel and cni.
"""

__version__ = "0.2.0"

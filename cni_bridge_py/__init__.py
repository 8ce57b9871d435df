"""A CNI plugin that wires pods to a Linux bridge. The verbs are here; what they are made of is in the folders.

Imports run downwards: cli and agent, then node and plugin, wiring, config, ipam, and at the bottom kernel and cni.
"""

__version__ = "0.2.0"

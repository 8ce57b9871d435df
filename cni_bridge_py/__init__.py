"""A CNI plugin that wires pods to a Linux bridge, and explains itself while doing so."""

__version__ = "0.2.0"

"""The agent as an image, and the manifest that runs it on every node.

What the agent does is in `cni_bridge_py/agent`.
"""

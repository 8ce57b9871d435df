"""The agent's image, and the manifest that runs the agent on every node.

What the agent does is not here, but in `cni_bridge_py/agent`.
"""

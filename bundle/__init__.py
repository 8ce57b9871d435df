"""How the executable is made: an interpreter that is started once, when it is built. See README.md here.

What the plugin does is in `cni_bridge_py`.
"""

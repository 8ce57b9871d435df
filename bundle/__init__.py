"""How the executable is made, with an interpreter that starts once, at build time. See README.md here.

What the plugin does is not here, but in `cni_bridge_py`.
"""

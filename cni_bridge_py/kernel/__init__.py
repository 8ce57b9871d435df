"""Linux: netlink, nftables, namespaces, sysctls. Nothing here knows of CNI, pods or configurations.

Constants carry their kernel names. The codec is ours because an ADD sends some twenty messages, and pyroute2 would take
as long over them as the whole ADD takes. Tests decode each message with pyroute2's classes.
"""

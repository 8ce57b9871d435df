"""Linux: netlink, nftables, namespaces, sysctls. Nothing here knows about CNI, pods or configurations.

Constants have their kernel names. The netlink codec is our own, because an ADD sends some twenty messages, and pyroute2
would spend as much time on them as the whole ADD takes. Tests decode each message with pyroute2's classes.
"""

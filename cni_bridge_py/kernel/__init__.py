"""Linux: netlink, namespaces, sysctls. Knows nothing of CNI.

Constants carry their kernel names. The codec is ours and small because importing pyroute2 takes 150 ms, and proved
against pyroute2 by the tests, which decode every message sent with pyroute2's classes.
"""

"""The plugin against a real kernel: private nodes, state read back with iproute2 and nft."""

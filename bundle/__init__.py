"""What cni-bridge-py.spec makes the executable of."""

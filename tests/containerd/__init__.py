"""A real containerd, driven over CRI as the kubelet drives it, with our plugin for its network."""

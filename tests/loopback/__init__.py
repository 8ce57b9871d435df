"""The executable as the plugin `loopback`."""

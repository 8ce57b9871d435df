"""A real kind cluster whose pods this plugin wires."""

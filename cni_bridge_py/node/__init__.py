"""What is there on a node, found out without changing or printing anything."""

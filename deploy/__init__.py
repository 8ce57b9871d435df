"""The agent as an image, and the manifest that runs it on every node."""

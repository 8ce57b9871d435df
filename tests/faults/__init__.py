"""What fails: the plugin at any moment, the ground that it works on, and what it is given."""

"""Addresses from another plugin, and addresses for other plugins."""

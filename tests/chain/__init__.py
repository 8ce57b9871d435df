"""In a list, before the plugins that usually follow."""

"""The plugin beside the reference plugins, as Debian packages them."""

"""Side by side with the reference plugins, Debian's `bridge` and `host-local`."""

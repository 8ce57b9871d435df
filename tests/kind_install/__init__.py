"""install.sh --kind, with stand-ins for docker, kind and kubectl that answer as the real ones do."""

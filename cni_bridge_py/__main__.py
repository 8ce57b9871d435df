"""Where the executable starts: a runtime sets CNI_COMMAND and gets the plugin, people get the command line."""

from __future__ import annotations

import posix
import sys


def main() -> int:
    """Serve a container runtime or a person; return the exit status."""
    if b"CNI_COMMAND" in posix.environ:
        if sys.argv[0].rpartition("/")[2] == "host-local-py":
            from cni_bridge_py import ipam_plugin

            return ipam_plugin.main()
        from cni_bridge_py import plugin

        return plugin.main()
    from cni_bridge_py import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())

"""Where the executable starts: a runtime sets CNI_COMMAND and gets the plugin, people get the command line."""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Serve a container runtime or a person; return the exit status."""
    if "CNI_COMMAND" in os.environ:
        if os.path.basename(sys.argv[0]) == "host-local-py":
            from cni_bridge_py import ipam_plugin

            return ipam_plugin.main()
        from cni_bridge_py import plugin

        return plugin.main()
    from cni_bridge_py import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())

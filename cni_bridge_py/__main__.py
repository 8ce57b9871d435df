"""Where the executable starts. A runtime sets CNI_COMMAND and gets the plugin; people get the command line."""

from __future__ import annotations

import os
import sys

from cni_bridge_py import ipam_plugin, loopback_plugin, plugin

OTHER_NAMES = {"host-local-py": ipam_plugin.main, "loopback": loopback_plugin.main}
"""Other plugins that the executable is, when it is run under these names."""


def main() -> int:
    """Serve a container runtime or a person; return the exit status."""
    if "CNI_COMMAND" not in os.environ:
        from cni_bridge_py import cli  # it needs libraries that the plugin does not

        return cli.main()
    return OTHER_NAMES.get(os.path.basename(sys.argv[0]), plugin.main)()


if __name__ == "__main__":
    sys.exit(main())

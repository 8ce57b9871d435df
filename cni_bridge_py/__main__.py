"""Where the executable starts: a runtime sets CNI_COMMAND and gets the plugin, people get the command line."""

from __future__ import annotations

import os
import sys

from cni_bridge_py import ipam_plugin, plugin


def main() -> int:
    """Serve a container runtime or a person; return the exit status."""
    if "CNI_COMMAND" not in os.environ:
        from cni_bridge_py import cli  # with libraries that the plugin does without

        return cli.main()
    if os.path.basename(sys.argv[0]) == "host-local-py":
        return ipam_plugin.main()
    return plugin.main()


if __name__ == "__main__":
    sys.exit(main())

"""What PyInstaller's executable runs: the command line, or the plugin, in the environment that it was started with."""

from __future__ import annotations

import os
import sys

from cni_bridge_py.__main__ import main

BOOTLOADER_VARIABLES = (
    "_PYI_APPLICATION_HOME_DIR",
    "_PYI_ARCHIVE_FILE",
    "_PYI_LINUX_PROCESS_NAME",
    "_PYI_PARENT_PROCESS_LEVEL",
)


def restore_environment() -> None:
    """Take back what PyInstaller's bootloader set for itself, so that no child process inherits it.

    The dynamic loader read LD_LIBRARY_PATH when this process started, so this process still finds
    its libraries. The value from before, if there was one, is in LD_LIBRARY_PATH_ORIG.
    """
    for name in BOOTLOADER_VARIABLES:
        os.environ.pop(name, None)
    library_path = os.environ.pop("LD_LIBRARY_PATH_ORIG", None)
    if library_path is None:
        os.environ.pop("LD_LIBRARY_PATH", None)
    else:
        os.environ["LD_LIBRARY_PATH"] = library_path


restore_environment()
sys.exit(main())

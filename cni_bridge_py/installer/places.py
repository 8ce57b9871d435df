"""Where on this node the plugin and its configuration belong."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from cni_bridge_py.installer import say
from cni_bridge_py.node import runtimes
from cni_bridge_py.node.confdir import PLUGIN
from cni_bridge_py.node.runtimes import BIN_DIR, CONF_DIR, Runtime

USUAL_BIN_DIRS = (BIN_DIR, *runtimes.PODMAN_BIN_DIRS)
"""Where the plugin may have been left for a runtime that is gone."""


@dataclass(frozen=True)
class Place:
    """A runtime, and the directories that we install into for it."""

    runtime: Runtime
    bin_dir: Path
    elsewhere: str = ""
    """Where the runtime itself looks, if not in these directories."""

    @property
    def conf_dir(self) -> Path:
        """Where its configuration goes."""
        return self.runtime.conf_dir


def find(bin_dir: Path | None, conf_dir: Path | None) -> list[Place]:
    """A place for each runtime, or the requested one. Says what was found."""
    if bin_dir and conf_dir:
        return [Place(Runtime("as you said", (bin_dir,), conf_dir), bin_dir)]
    found = runtimes.find()
    for line in found.others:
        say(line)
    places = [Place(each, bin_dir or _best(each.bin_dirs)) for each in found.runtimes]
    if not places:
        bins, confs = bin_dir or BIN_DIR, conf_dir or CONF_DIR
        say(f"No container runtime was found: most look for plugins in {BIN_DIR} and for configurations in {CONF_DIR}")
        return [Place(Runtime("a runtime that comes later", (bins,), confs), bins)]
    return [
        replace(each, runtime=_overridden(each.runtime, bin_dir, conf_dir), elsewhere=_elsewhere(each, conf_dir))
        for each in places
    ]


def find_all(bin_dir: Path | None, conf_dir: Path | None) -> tuple[list[Path], list[Path]]:
    """All directories where an earlier installation may have put plugins and configurations."""
    known = runtimes.find().runtimes
    bins = [folder for each in known for folder in each.bin_dirs]
    confs = [each.conf_dir for each in known]
    return (
        [bin_dir] if bin_dir else list(dict.fromkeys([*bins, *USUAL_BIN_DIRS])),
        [conf_dir] if conf_dir else list(dict.fromkeys([*confs, CONF_DIR])),
    )


def _overridden(runtime: Runtime, bin_dir: Path | None, conf_dir: Path | None) -> Runtime:
    return replace(runtime, bin_dirs=(bin_dir,) if bin_dir else runtime.bin_dirs, conf_dir=conf_dir or runtime.conf_dir)


def _elsewhere(place: Place, conf_dir: Path | None) -> str:
    runtime = place.runtime
    places = [f"plugins in {':'.join(map(str, runtime.bin_dirs))}"] if place.bin_dir not in runtime.bin_dirs else []
    places += [f"configurations in {runtime.conf_dir}"] if conf_dir and conf_dir != runtime.conf_dir else []
    return " and for ".join(places)


def _best(folders: tuple[Path, ...]) -> Path:
    """Of the directories where a runtime looks: the one with this plugin, else one with any plugin, else the first."""
    with_ours = [folder for folder in folders if (folder / PLUGIN).exists()]
    with_any = [folder for folder in folders if folder.is_dir() and any(folder.iterdir())]
    return [*with_ours, *with_any, *folders][0]

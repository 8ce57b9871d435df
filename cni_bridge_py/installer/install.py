"""Installs what was built, and a network configuration, where the container runtimes of this node look."""

from __future__ import annotations

import filecmp
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from cni_bridge_py.installer import Refused, plan, program, say, services
from cni_bridge_py.installer.places import Place
from cni_bridge_py.installer.plan import Network, Options, Plan
from cni_bridge_py.installer.staging import MARK, Staging, remove_when_unused
from cni_bridge_py.node import confdir
from cni_bridge_py.node.confdir import PLUGIN, NetworkFile

COMMAND = "command-line"
"""The command for people, as it was built: a directory, and the program in it."""

LOOPBACK = "loopback"
"""The plugin that containerd calls for each pod's `lo`."""


def check(options: Options) -> None:
    """Raise Refused if `install` would, as far as we can know before anything is built."""
    plan.make(options, plan.find_places(options))


def install(options: Options, built: Path) -> None:
    """Install what was built, or leave everything as it is.

    Raises Refused if this would harm pods or is not possible, and OSError, for example if a disk is full.
    """
    places = plan.find_places(options)
    command = options.prefix / "bin" / PLUGIN
    folders = _folders(places, options.prefix)
    new_folders = [each for each in folders if not each.is_dir()]
    with Staging(*folders) as staging:
        # While we hold the locks, nobody else changes what the plan is made from.
        planned = plan.make(options, places)
        before = {each.target.parent: _first(each.target.parent) for each in planned.networks}
        change = Change(planned, built, options.prefix)
        change.stage(staging)
        staging.commit(*change.gone)
        change.tidy()
    if os.geteuid() == 0:
        change.tell_services(options.shipped, command)
    for line in [*change.done, *_about_runtimes(planned, new_folders), *_about_others(planned, before)]:
        say(line)
    for line in [*planned.warnings, *change.warnings]:
        say(f"WARNING: {line}")


def _folders(places: list[Place], prefix: Path) -> list[Path]:
    """The directories in which something changes."""
    of_places = [folder for each in places for folder in (each.bin_dir, each.conf_dir)]
    helps = [path.parent for path in help_files(prefix).values()]
    return list(dict.fromkeys([*of_places, prefix / "lib" / PLUGIN, prefix / "bin", *helps]))


def help_files(prefix: Path) -> dict[str, Path]:
    """Where the manual page and the shells' completion go, by the names that the build gives them."""
    share = prefix / "share"
    return {
        f"{PLUGIN}.1": share / "man/man1" / f"{PLUGIN}.1",
        "completion.bash": share / "bash-completion/completions" / PLUGIN,
        "completion.zsh": share / "zsh/site-functions" / f"_{PLUGIN}",
        "completion.fish": share / "fish/vendor_completions.d" / f"{PLUGIN}.fish",
    }


class Change:
    """The changes of files that a plan needs."""

    def __init__(self, planned: Plan, built: Path, prefix: Path) -> None:
        self._plan = planned
        self._built = built
        self._lib = prefix / "lib" / PLUGIN
        self._command = prefix / "bin" / PLUGIN
        self._version = self._lib / _fingerprint(built / COMMAND)
        self._started: dict[Path, Path] = {}
        self.done: list[str] = []
        """What to print at the end, line by line."""
        self.warnings: list[str] = []

    @property
    def gone(self) -> list[Path]:
        """The configurations that are replaced by others."""
        return [each.before.path for each in self._plan.networks if each.before and each.before.path != each.target]

    @property
    def _bins(self) -> list[Path]:
        return list(dict.fromkeys(each.bin_dir for each in self._plan.places))

    def stage(self, staging: Staging) -> None:
        """Stage everything, the plugin before the configuration that names it."""
        command = self._stage_command(staging)
        for folder in self._bins:
            self._started[folder] = self._stage_plugin(staging, folder, command)
            if not (folder / LOOPBACK).exists():
                staging.link(folder / LOOPBACK, PLUGIN)
                self.done.append(f"{folder / LOOPBACK} -> {PLUGIN}, because there was no plugin of that name")
        for network in self._plan.networks:
            self._stage_network(staging, network)

    def tell_services(self, shipped: Path, command: Path) -> None:
        """Configure other services to leave pods' links alone, and systemd to run `mend` after them."""
        bridges = [each.config.bridge for each in self._plan.networks if each.config]
        wanted = {path: text.encode() for path, text in services.files(shipped, command, bridges)}
        new = {path: text for path, text in wanted.items() if not path.is_file() or path.read_bytes() != text}
        try:
            with Staging(*{path.parent for path in new}) as staging:
                for path, text in new.items():
                    staging.write(text, path)
                staging.commit()
        except (Refused, OSError) as error:  # pods work without these files
            reason = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
            self.warnings.append(f"systemd and NetworkManager were not told of pods' links: {reason}")
            return
        self.done += [f"{path}: {'new' if path in new else 'as it was'}" for path in wanted]
        self.warnings += services.take_notice(new)

    def tidy(self) -> None:
        """Remove earlier versions, as soon as none of them runs."""
        for folder in self._bins:
            for each in folder.glob(f"{MARK}*"):
                _ = each.is_dir() and remove_when_unused(each)
        for each in self._lib.iterdir():
            _ = each != self._version and remove_when_unused(each)

    def _stage_command(self, staging: Staging) -> Path:
        """Stage the command for people; return where it is now.

        It is a directory named after its contents, and a link into it, because a link can be replaced in one step.
        """
        staged = self._version
        if not staged.is_dir():
            staged = staging.tree(self._built / COMMAND, self._version)
        staging.link(self._command, self._version / COMMAND)
        for name, target in help_files(self._command.parents[1]).items():
            if (self._built / name).is_file():
                staging.write((self._built / name).read_bytes(), target)
        self.done.append(f"{self._command}: the command for people (man {PLUGIN})")
        return staged / COMMAND

    def _stage_plugin(self, staging: Staging, folder: Path, command: Path) -> Path:
        """Stage the static executable, or else a link to the command for people; return what was started to try it."""
        target, executable = folder / PLUGIN, self._built / PLUGIN
        if not executable.is_file():
            program.need_start(command, "--prefix")
            staging.link(target, self._version / COMMAND)
            self.done.append(f"{target} -> {self._version / COMMAND}")
            return command
        if target.is_file() and not target.is_symlink() and filecmp.cmp(executable, target, shallow=False):
            target.chmod(0o755)
            self.done.append(f"{target}: already the version that was built")
            started = target
        else:
            self.done.append(f"{target}: {'replaced' if os.path.lexists(target) else 'new'}")
            started = staging.copy(executable, target)
        program.need_start(started, "--bin-dir")
        return started

    def _stage_network(self, staging: Staging, network: Network) -> None:
        target, before = network.target, network.before
        self.done += network.because
        if not network.is_new:
            self.done.append(f"{target}: as it was")
            return
        staging.write(network.content, target)
        self._ask(network)
        if before and before.path == target:
            self.done.append(f"{target}: changed; the former one is in {staging.back_up(target)}")
        elif before:
            self.done.append(f"{target}: new; the former {before.path.name} is in {staging.back_up(before.path)}")
        else:
            self.done.append(f"{target}: new")
        if os.path.lexists(target) and not (before and before.path == target):
            self.done.append(f"{target}: the former one is in {staging.back_up(target)}")

    def _ask(self, network: Network) -> None:
        """Let the plugin itself check the configuration, as the runtime would."""
        place = next(each for each in self._plan.places if each.conf_dir == network.target.parent)
        if os.geteuid() == 0:  # otherwise it would refuse as not root
            said = program.status(self._started[place.bin_dir], confdir.alone(network.document), place.runtime.bin_dirs)
            if said:
                self.warnings.append(f"the plugin cannot serve a pod now: {said}")


def _fingerprint(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(each for each in folder.rglob("*") if each.is_file() or each.is_symlink()):
        content = bytes(file.readlink()) if file.is_symlink() else file.read_bytes()
        digest.update(f"{file.relative_to(folder)} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:12]


def _first(conf_dir: Path) -> NetworkFile | None:
    return next(iter(confdir.files(conf_dir)), None)


def _about_runtimes(planned: Plan, new_folders: list[Path]) -> Iterator[str]:
    """What each runtime does now: where it looks, which configuration it uses, and whether it needs a restart."""
    for place in planned.places:
        first = _first(place.conf_dir)
        name = first.path.name if first else "nothing"
        yield (
            f"{place.runtime.name}: plugins in {place.bin_dir}, configurations in {place.conf_dir}; it uses the first "
            f"in alphabetical order, {name}; {_restart(place, new_folders)}"
        )


def _restart(place: Place, new_folders: list[Path]) -> str:
    reason = place.runtime.restart
    if place.conf_dir in new_folders:
        reason = reason or f"{place.conf_dir} was not there before"
    if reason and place.runtime.unit:
        return f"if it runs, it needs a restart ({reason}): systemctl restart {place.runtime.unit}"
    return "it needs no restart"


def _about_others(planned: Plan, before: dict[Path, NetworkFile | None]) -> Iterator[str]:
    """Other configurations that were the first, or still are."""
    for network in planned.networks:
        folder = network.target.parent
        first, former = _first(folder), before[folder]
        if first and first.path != network.target:
            yield (
                f"WARNING: {first} sorts before {network.target.name}, so new pods get their network from it: "
                "to use this plugin, move it away"
            )
        elif former and former.path != network.target and not former.is_ours:
            yield (
                f"Until now, new pods got {former}. From now on they get the network {network.document.get('name')}, "
                "and may not reach the pods that are running, which keep theirs. --uninstall makes the old one the "
                "first again"
            )

"""What install.sh is told, and what of it makes no sense."""

from __future__ import annotations

import pytest

from tests.install.conftest import BIN, CONF, Installer

NOBODY = 65534

NOT_TOGETHER = [
    ("--kind", "--bin-dir=/opt/x"),
    ("--kind", "--conf-dir=/opt/x"),
    ("--kind", "--subnet=10.1.0.0/16"),
    ("--kind", "--mtu=1400"),
    ("--kind", "--demo"),
    ("--kind", "--build-only"),
    ("--uninstall", "--demo"),
    ("--uninstall", "--install"),
    ("--uninstall", "--subnet=10.1.0.0/16"),
    ("--uninstall", "--mtu=1400"),
    ("--uninstall", "--conf=10-bridge.conf"),
    ("--uninstall", "--no-build"),
    ("--uninstall", "--build-in-container"),
    ("--uninstall", "--force"),
    ("--build-only", "--no-build"),
    ("--build-only", "--subnet=10.1.0.0/16"),
    ("--build-only", "--demo"),
    ("--no-build", "--build-in-container"),
]
NEEDS_ANOTHER = [
    ("--purge", "--uninstall"),
    ("--image=kindest/node", "--kind"),
    ("--config=kind-config.yaml", "--kind"),
]


@pytest.mark.parametrize("options", NOT_TOGETHER, ids=" ".join)
def test_options_that_do_not_go_together_are_refused(installer: Installer, options: tuple[str, str]) -> None:
    names = [each.partition("=")[0] for each in options]
    for order in (options, options[::-1]):
        complaint = installer.refuse(*order)
        assert "do not go together" in complaint
        assert all(name in complaint for name in names)


@pytest.mark.parametrize(("option", "other"), NEEDS_ANOTHER)
def test_options_that_need_another_are_refused_alone(installer: Installer, option: str, other: str) -> None:
    assert f"{option.partition('=')[0]} goes with {other}" in installer.refuse(option)


@pytest.mark.parametrize("option", ["--subnet=10.1.0.0/16", f"--bin-dir={BIN}", "--force"])
def test_the_demo_alone_takes_no_option_of_installing(installer: Installer, option: str) -> None:
    assert "needs --install as well" in installer.refuse("--demo", option)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--subnets", "10.0.0.0/8"], "there is no option --subnets"),
        (["--subnets=10.0.0.0/8"], "there is no option --subnets"),
        (["--demo=yes"], "there is no option --demo that takes a value"),
        (["install"], "there is no option install"),
        (["-x"], "there is no option -x"),
        (["--subnet"], "--subnet needs a value"),
        (["--subnet="], "--subnet needs a value"),
        (["--kind="], "--kind needs a value"),
        (["--conf", "--force"], "--conf needs a value"),
    ],
)
def test_an_option_that_is_none_is_refused(installer: Installer, options: list[str], complaint: str) -> None:
    said = installer.refuse("--no-build", *options)
    assert complaint in said
    assert "--help" in said


@pytest.mark.parametrize("name", ["nothing.conf", "../conf/10-bridge.conf", "/etc/passwd", "."])
def test_a_configuration_that_is_not_shipped_is_refused(installer: Installer, name: str) -> None:
    complaint = installer.refuse("--no-build", "--conf", name)
    assert f"conf/ has no {name}" in complaint
    assert "10-bridge.conf " in complaint


def test_the_configuration_of_a_kind_cluster_is_refused_with_the_way_out(installer: Installer) -> None:
    complaint = installer.refuse("--no-build", "--conf", "kind-dual-stack.yaml")
    assert "./install.sh --kind --config conf/kind-dual-stack.yaml" in complaint


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_tells_every_option(installer: Installer, option: str) -> None:
    said = installer.succeed(option)
    options = (
        "--subnet --mtu --conf --bin-dir --conf-dir --prefix --force --no-build --build-only --build-in-container "
        "--demo --install --uninstall --purge --yes --kind --image --config -h, --help"
    )
    assert [each for each in options.split() if f"  {each}" not in said and f"{each} " not in said] == []


def test_help_of_a_script_that_sh_runs(installer: Installer) -> None:
    said = installer.node.run("sh", installer.checkout / "install.sh", "--help").stdout
    assert said == installer.succeed("--help")


def test_help_of_a_script_that_a_link_leads_to(installer: Installer) -> None:
    (installer.node.directory / "link").symlink_to(installer.checkout / "install.sh")
    said = installer.node.run("sh", "-c", f"cd /; {installer.node.directory}/link --help").stdout
    assert said == installer.succeed("--help")


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_script_that_comes_through_a_pipe_says_where_it_belongs(installer: Installer, shell: str) -> None:
    done = installer.node.run(shell, "-c", f"cd /; {shell} < {installer.checkout}/install.sh", check=False)
    assert done.returncode == 1
    assert done.stderr == "install.sh: run it in a checkout: ./install.sh\n"


def test_a_value_may_follow_an_equals_sign_or_a_space(installer: Installer) -> None:
    installer.succeed("--no-build", "--bin-dir", BIN, f"--conf-dir={CONF}", "--subnet=10.99.0.0/16", "--mtu", "1400")
    assert installer.conf()["ipam"]["subnet"] == "10.99.0.0/16"
    assert installer.conf()["mtu"] == 1400


def test_directories_may_be_relative_and_have_spaces(installer: Installer) -> None:
    folder = "/opt/a folder"
    installer.node.run("mkdir", folder)
    installer.node.run(
        *("sh", "-c", f"cd '{folder}'; {installer.checkout}/install.sh --no-build --bin-dir bin --conf-dir ../conf")
    )
    assert installer.version(f"{folder}/bin/cni-bridge-py") == "one"
    assert installer.path("/opt/conf/10-bridge.conf").exists()


def test_it_says_when_nothing_has_been_built(installer: Installer) -> None:
    (installer.dist / "command-line/command-line").unlink()
    assert "nothing has been built yet" in installer.refuse_install()


def test_it_says_when_it_may_not_write_there(installer: Installer) -> None:
    complaint = installer.refuse_install(user=NOBODY)
    assert f"you may not write to {BIN}" in complaint
    assert "run it as root" in complaint


def test_it_says_that_the_demo_takes_root(installer: Installer) -> None:
    assert "needs root" in installer.refuse("--no-build", "--demo", user=NOBODY)


def test_a_user_may_install_into_directories_of_their_own(installer: Installer) -> None:
    installer.node.run("install", "-d", f"--owner={NOBODY}", "/opt/mine")
    where = [f"--{each}=/opt/mine/{each}" for each in ("bin-dir", "conf-dir", "prefix")]
    done = installer.run("--no-build", *where, user=NOBODY)
    assert done.returncode == 0, done
    assert installer.path("/opt/mine/conf-dir/10-bridge.conf").exists()


def test_the_demo_installs_nothing(installer: Installer) -> None:
    before = installer.contents()
    installer.build_source()
    said = installer.succeed("--no-build", "--demo")
    assert "Nothing is left behind." in said
    assert "Nothing was installed" in said
    assert installer.contents() == before


def test_the_demo_and_installing_when_both_are_asked_for(installer: Installer) -> None:
    installer.build_source()
    said = installer.install("--install", "--demo")
    assert "Nothing is left behind." in said
    assert "Nothing was installed" not in said
    assert installer.picked_up() == ["10-bridge.conf"]

"""The CNI_* parameters: what is read, what is refused, and what the refusal names."""

from __future__ import annotations

import pytest

from cni_bridge_py.cni.request import read_args, read_request
from tests.unit.support import refusal

ENVIRONMENT = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "0123abc",
    "CNI_NETNS": "/run/netns/pod",
    "CNI_IFNAME": "eth0",
    "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart-0",
    "CNI_PATH": "/opt/cni/bin:/usr/lib/cni",
}

NEEDED = {
    "ADD": ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"],
    "DEL": ["CNI_CONTAINERID", "CNI_IFNAME"],
    "CHECK": ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"],
    "STATUS": [],
    "GC": [],
    "VERSION": [],
}


def environment(**changes: str | None) -> dict[str, str]:
    """The environment with some variables changed, or taken away by None."""
    return {name: value for name, value in {**ENVIRONMENT, **changes}.items() if value is not None}


def test_reads_every_parameter() -> None:
    request = read_request(ENVIRONMENT)
    assert request.command == "ADD"
    assert request.container_id == "0123abc"
    assert request.netns == "/run/netns/pod"
    assert request.ifname == "eth0"
    assert request.args == {"IgnoreUnknown": "1", "K8S_POD_NAMESPACE": "shop", "K8S_POD_NAME": "cart-0"}
    assert request.path == ["/opt/cni/bin", "/usr/lib/cni"]
    assert request.pod == "shop/cart-0"


@pytest.mark.parametrize("verb", NEEDED)
def test_needs_no_more_than_the_verb_does(verb: str) -> None:
    needed = {name: ENVIRONMENT[name] for name in NEEDED[verb]}
    request = read_request({"CNI_COMMAND": verb, **needed})
    assert request.command == verb
    assert request.container_id == needed.get("CNI_CONTAINERID", "")
    assert request.netns == needed.get("CNI_NETNS", "")
    assert request.ifname == needed.get("CNI_IFNAME", "")
    assert request.args == {}
    assert request.path == []
    assert request.pod == ""


@pytest.mark.parametrize("value", [None, ""], ids=["missing", "empty"])
@pytest.mark.parametrize(("verb", "name"), [(verb, name) for verb in NEEDED for name in NEEDED[verb]])
def test_names_the_parameter_that_is_missing(verb: str, name: str, value: str | None) -> None:
    error = refusal(read_request, environment(**{"CNI_COMMAND": verb, name: value}))
    assert (error.code, error.msg) == (4, f"required env variables [{name}] missing")


def test_names_all_parameters_that_are_missing() -> None:
    error = refusal(read_request, {"CNI_COMMAND": "ADD"})
    assert (error.code, error.msg) == (4, "required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME] missing")


@pytest.mark.parametrize("verb", [None, "", "add", "ADD ", "REMOVE", "ADD;DEL"])
def test_refuses_what_is_no_verb(verb: str | None) -> None:
    error = refusal(read_request, environment(CNI_COMMAND=verb))
    assert error.code == 4
    unknown = f"unknown CNI_COMMAND: {verb}: expected one of ADD, "
    assert error.msg.startswith(unknown if verb else "required env variables [CNI_COMMAND] missing")


@pytest.mark.parametrize("container_id", ["a", "0", "Z9", "a.b_c-d", "3f" * 32, "0-_.", "a" * 250])
def test_takes_container_ids_of_the_specification(container_id: str) -> None:
    assert read_request(environment(CNI_CONTAINERID=container_id)).container_id == container_id


@pytest.mark.parametrize(
    "container_id",
    [
        ".",
        "..",
        "../x",
        "../../etc/passwd",
        "/etc",
        "a/b",
        "a b",
        " a",
        "a\n",
        "_a",
        "-a",
        ".a",
        "é",
        "aé",
        "a\udcff",
        "٣",
    ],
)
@pytest.mark.parametrize("verb", ["ADD", "DEL", "CHECK"])
def test_refuses_other_container_ids(verb: str, container_id: str) -> None:
    error = refusal(read_request, environment(CNI_COMMAND=verb, CNI_CONTAINERID=container_id))
    assert error.code == 4
    assert error.msg.startswith(
        f"CNI_CONTAINERID: invalid characters in containerID {container_id!r}: it must start with a letter or digit"
    )


@pytest.mark.parametrize(
    "ifname",
    [
        "e",
        "eth0",
        "a" * 15,
        "net1.100",
        "...",
        "-",
        "x@y",
        pytest.param("é" * 7 + "x", id="15 bytes in 8 letters"),
        "网络",
    ],
)
def test_takes_interface_names_of_the_kernel(ifname: str) -> None:
    assert read_request(environment(CNI_IFNAME=ifname)).ifname == ifname


@pytest.mark.parametrize(
    "ifname",
    [
        "a" * 16,
        pytest.param("é" * 8, id="16 bytes in 8 letters"),
        "a" * 4000,
        ".",
        "..",
        "eth%d",
        "%",
        "a/b",
        "../x",
        "a:b",
        "a b",
        "a\tb",
        "a\n",
        "a\x01",
        "a\x7f",
        "a\u00a0b",
        "a\u2028b",
        "a\udcff",
    ],
)
@pytest.mark.parametrize("verb", ["ADD", "DEL", "CHECK"])
def test_refuses_other_interface_names(verb: str, ifname: str) -> None:
    error = refusal(read_request, environment(CNI_COMMAND=verb, CNI_IFNAME=ifname))
    assert error.code == 4
    assert error.msg.startswith(f"CNI_IFNAME: {ifname!r}: ")


@pytest.mark.parametrize(
    ("text", "args"),
    [
        ("", {}),
        (";", {}),
        ("K8S_POD_NAME=a", {"K8S_POD_NAME": "a"}),
        ("K8S_POD_NAME=", {"K8S_POD_NAME": ""}),
        (";K8S_POD_NAME=a;;K8S_POD_UID=b;", {"K8S_POD_NAME": "a", "K8S_POD_UID": "b"}),
        ("IgnoreUnknown=1;FOO=x", {"IgnoreUnknown": "1", "FOO": "x"}),
        ("FOO=x;IgnoreUnknown=true", {"IgnoreUnknown": "true", "FOO": "x"}),
        ("FOO=x;IgnoreUnknown=True", {"IgnoreUnknown": "True", "FOO": "x"}),
        ("IgnoreUnknown=0;K8S_POD_INFRA_CONTAINER_ID=c", {"IgnoreUnknown": "0", "K8S_POD_INFRA_CONTAINER_ID": "c"}),
    ],
)
def test_reads_args(text: str, args: dict[str, str]) -> None:
    assert read_args(text) == args


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("K8S_POD_NAME", "CNI_ARGS: invalid pair 'K8S_POD_NAME': it is not KEY=VALUE"),
        ("=a", "CNI_ARGS: invalid pair '=a': it is not KEY=VALUE"),
        ("K8S_POD_NAME=a; ", "CNI_ARGS: invalid pair ' ': it is not KEY=VALUE"),
        ("IgnoreUnknown=1;FOO", "CNI_ARGS: invalid pair 'FOO': it is not KEY=VALUE"),
        ("FOO=1", "CNI_ARGS: unknown args FOO (set IgnoreUnknown=1 to ignore unknown keys)"),
        ("FOO=1;BAR=2;K8S_POD_NAME=a", "CNI_ARGS: unknown args FOO, BAR (set IgnoreUnknown=1 to ignore unknown keys)"),
        ("FOO=1;IgnoreUnknown=0", "CNI_ARGS: unknown args FOO (set IgnoreUnknown=1 to ignore unknown keys)"),
        ("FOO=1;IgnoreUnknown=false", "CNI_ARGS: unknown args FOO (set IgnoreUnknown=1 to ignore unknown keys)"),
    ],
)
def test_refuses_args(text: str, message: str) -> None:
    error = refusal(read_request, environment(CNI_ARGS=text))
    assert (error.code, error.msg) == (4, message)


@pytest.mark.parametrize(
    ("value", "override"),
    [(None, False), ("", False), ("0", False), ("false", False), ("1", True), ("true", True), ("TRUE", True)],
)
def test_reads_the_override_of_the_namespace(value: str | None, override: bool) -> None:
    assert read_request(environment(CNI_NETNS_OVERRIDE=value)).netns_override is override


@pytest.mark.parametrize(
    ("args", "pod"),
    [
        ("K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart-0", "shop/cart-0"),
        ("K8S_POD_NAMESPACE=shop", ""),
        ("", ""),
    ],
)
def test_says_whose_pod_it_is(args: str, pod: str) -> None:
    assert read_request(environment(CNI_ARGS=args)).pod == pod

"""Every MUST, SHOULD and MAY of SPEC.md 1.1.0 and CONVENTIONS.md that concerns a plugin, in our own words.

What is asked of runtimes and administrators alone is left out.
"""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """One thing that is asked of a plugin, and either the tests that show it or the reason why it is not for us."""

    where: str
    level: str
    asked: str
    tests: str = ""
    """Names of tests in this directory, `file::test`, with spaces between."""
    why_not: str = ""


MUST, SHOULD, MAY = "MUST", "SHOULD", "MAY"

EXECUTION = "test_execution::"
ATTACH = "test_add_del::"
CHECK = "test_check::"
STATUS_GC = "test_status_gc::"
DELEGATION = "test_delegation::"
RESULTS = "test_results::"
CONVENTIONS = "test_conventions::"

SPEC = [
    # Section 1: the configuration
    Row(
        "1",
        MUST,
        "a network's name starts with a letter or digit and cannot leave a directory",
        EXECUTION + "test_names_that_could_leave_a_directory_are_refused",
    ),
    Row("1", MUST, "`ipam.type` is a file name", EXECUTION + "test_an_ipam_type_that_is_no_file_name_is_refused"),
    Row(
        "1",
        SHOULD,
        "ipMasq, ipam and dns mean what they mean everywhere",
        EXECUTION + "test_well_known_keys_mean_what_they_always_mean",
    ),
    Row(
        "1",
        MAY,
        "a plugin has keys of its own, and may refuse those that it does not know: we ignore them",
        EXECUTION + "test_unknown_keys_are_no_error",
    ),
    Row(
        "1",
        MUST,
        "configurations stay readable within a major version",
        EXECUTION + "test_configurations_of_every_version_are_served",
    ),
    # Section 2: parameters and exit status
    Row(
        "2 Parameters",
        MUST,
        "a container id is there and of the same characters as a name",
        EXECUTION + "test_container_ids_that_are_none_are_refused",
    ),
    Row(
        "2 Parameters",
        MUST,
        "an interface name that cannot be used is an error",
        EXECUTION + "test_an_interface_name_that_cannot_be_used_is_an_error",
    ),
    Row(
        "2 Errors",
        MUST,
        "exit with 0 on success and with something else on failure",
        EXECUTION + "test_the_exit_status_tells_success_from_failure",
    ),
    Row(
        "2 Errors",
        SHOULD,
        "a failure comes with an error structure",
        RESULTS + "test_an_error_says_what_and_in_which_version",
    ),
    # Section 2: ADD
    Row(
        "2 ADD",
        SHOULD,
        "make the interface CNI_IFNAME in the namespace CNI_NETNS",
        ATTACH + "test_add_makes_the_interface_that_is_asked_for",
    ),
    Row(
        "2 ADD",
        MUST,
        "answer with a result on standard output",
        ATTACH + "test_add_answers_with_a_result_on_standard_output",
    ),
    Row("2 ADD", MUST, "pass prevResult on, as it is or changed", ATTACH + "test_what_was_there_before_is_passed_on"),
    Row(
        "2 ADD",
        MUST,
        "an interface of that name in the container is an error",
        ATTACH + "test_an_interface_of_that_name_is_an_error",
    ),
    Row(
        "2 ADD",
        SHOULD,
        "a runtime does not ADD twice without a DEL, but for another interface name",
        ATTACH + "test_a_second_add_is_refused_and_another_interface_is_not",
    ),
    # Section 2: DEL
    Row(
        "2 Parameters",
        MUST,
        "VERSION, STATUS and GC have no attachment's parameters",
        EXECUTION + "test_a_verb_that_is_about_no_attachment_looks_at_none",
    ),
    Row("2 DEL", SHOULD, "take the interface away", ATTACH + "test_del_takes_the_interface_away"),
    Row("2 DEL", SHOULD, "no error where prevResult is empty", ATTACH + "test_del_needs_no_prev_result"),
    Row(
        "2 DEL",
        SHOULD,
        "complete to the fullest extent, whatever fails",
        DELEGATION + "test_a_del_that_it_refuses_leaves_its_addresses_alone",
    ),
    Row("2 DEL", SHOULD, "no error where resources are missing", ATTACH + "test_del_succeeds_whatever_is_missing"),
    Row(
        "2 DEL",
        SHOULD,
        "an address is released where the namespace is gone",
        ATTACH + "test_del_releases_where_the_namespace_is_gone",
    ),
    Row(
        "2 DEL",
        SHOULD,
        "a DHCP lease that could not be given back is no error",
        why_not="that is the dhcp plugin's to know; tests/delegation/test_dhcp.py runs it",
    ),
    Row("2 DEL", MUST, "accept any number of DELs of one attachment", ATTACH + "test_del_may_come_any_number_of_times"),
    # Section 2: CHECK
    Row(
        "2 CHECK",
        MUST,
        "prevResult says which interfaces and addresses are expected",
        CHECK
        + "test_the_result_says_what_is_expected "
        + CHECK
        + "test_what_another_plugin_has_in_another_sandbox_is_not_the_pods "
        + CHECK
        + "test_addresses_of_no_interface_are_the_pods_where_it_has_no_others "
        + CHECK
        + "test_a_result_without_addresses_needs_a_lease_all_the_same",
    ),
    Row(
        "2 CHECK",
        MUST,
        "what a later plugin of the chain changed is no fault",
        CHECK + "test_what_a_later_plugin_changed_is_no_fault",
    ),
    Row(
        "2 CHECK",
        SHOULD,
        "an interface, address or route of ours that is gone is an error",
        CHECK
        + "test_an_interface_address_or_route_that_is_gone_is_an_error "
        + CHECK
        + "test_the_pods_interface_is_the_other_end_of_our_veth",
    ),
    Row(
        "2 CHECK", SHOULD, "so are packet filter rules and leases", CHECK + "test_what_no_result_lists_is_looked_at_too"
    ),
    Row(
        "2 CHECK",
        SHOULD,
        "a container that cannot be reached is an error",
        CHECK + "test_a_pod_that_nobody_can_reach_is_an_error",
    ),
    Row("2 CHECK", MUST, "CHECK may come right after ADD", CHECK + "test_right_after_add_all_is_well"),
    Row(
        "2 CHECK",
        SHOULD,
        "a pod that another version or plugin made by the same configuration is judged by its result",
        CHECK
        + "test_a_pod_that_the_reference_made_passes "
        + ATTACH
        + "test_not_the_first_of_a_chain_is_checked_and_deleted_as_any",
    ),
    Row(
        "2 CHECK",
        SHOULD,
        "run CHECK of a delegate, and pass its errors on",
        DELEGATION + "test_every_verb_runs_it_and_its_errors_are_ours",
    ),
    # Section 2: STATUS
    Row(
        "2 STATUS",
        MUST,
        "exit with 0 where an ADD could be served",
        STATUS_GC + "test_status_is_silent_where_all_is_well",
    ),
    Row(
        "2 STATUS",
        MUST,
        "an error where it is known that none could be",
        STATUS_GC
        + "test_status_tells_what_every_add_would_be_refused_for "
        + STATUS_GC
        + "test_status_tells_that_rights_are_missing",
    ),
    Row(
        "2 STATUS",
        SHOULD,
        "an error where what there is of something is used up",
        STATUS_GC + "test_status_tells_a_range_that_is_full",
    ),
    Row(
        "2 STATUS",
        MUST,
        "rely on nobody's calling STATUS; serve other verbs whatever it said",
        STATUS_GC + "test_no_status_is_needed_and_none_prevents",
    ),
    Row(
        "2 STATUS",
        MUST,
        "run STATUS of a delegate, and pass its errors on",
        DELEGATION + "test_every_verb_runs_it_and_its_errors_are_ours",
    ),
    # Section 2: VERSION
    Row(
        "2 VERSION",
        SHOULD,
        "answer with a version result on standard output",
        EXECUTION + "test_version_needs_no_parameter_but_the_command",
    ),
    # Section 2: GC
    Row(
        "2 GC",
        SHOULD,
        "remove as much as possible of what is not listed; nothing is printed",
        STATUS_GC
        + "test_gc_removes_all_that_is_stale_and_says_nothing "
        + STATUS_GC
        + "test_gc_of_the_list_as_libcni_writes_it "
        + STATUS_GC
        + "test_gc_without_a_list_removes_nothing",
    ),
    Row(
        "2 GC",
        MAY,
        "take for granted that the namespaces are gone",
        why_not="we do not: a veth goes first, and its address stays in use until it is gone",
    ),
    Row(
        "2 GC",
        SHOULD,
        "go on past an error, and report all",
        STATUS_GC + "test_gc_goes_on_past_an_error_and_reports_it",
    ),
    Row("2 GC", MUST, "run GC of a delegate", DELEGATION + "test_every_verb_runs_it_and_its_errors_are_ours"),
    # Section 3: what runtimes do, as far as plugins see it
    Row(
        "3",
        MUST,
        "serve several containers at once, and lock what they share",
        ATTACH + "test_many_at_once_get_what_is_theirs",
    ),
    Row("3", MUST, "a DEL follows an ADD that failed", ATTACH + "test_del_follows_an_add_that_failed"),
    # Section 4: delegation
    Row(
        "4", MUST, "a delegate gets all environment variables", DELEGATION + "test_it_gets_the_environment_that_we_got"
    ),
    Row("4", MUST, "a delegate gets the whole configuration", DELEGATION + "test_it_gets_the_configuration_as_it_came"),
    Row(
        "4",
        SHOULD,
        "a delegate is looked for in CNI_PATH",
        DELEGATION + "test_it_is_the_first_of_that_name_in_cni_path",
    ),
    Row("4", SHOULD, "a delegate's standard error goes to ours", DELEGATION + "test_its_standard_error_is_ours"),
    Row(
        "4",
        MUST,
        "CHECK, DEL and GC run the delegate's; its errors are ours",
        DELEGATION + "test_every_verb_runs_it_and_its_errors_are_ours",
    ),
    Row(
        "4",
        SHOULD,
        "an ADD of a delegate that failed is followed by its DEL",
        DELEGATION
        + "test_an_add_of_it_that_failed_is_followed_by_its_del "
        + DELEGATION
        + "test_an_answer_that_cannot_be_used_is_followed_by_its_del "
        + DELEGATION
        + "test_nothing_to_give_back_no_del",
    ),
    Row(
        "4",
        SHOULD,
        "success is the exit status of 0; a result comes with ADD",
        DELEGATION + "test_what_it_prints_is_an_answer_to_add_alone",
    ),
    Row(
        "4",
        MUST,
        "a delegate is run when its moment has come: it may need the interface, as dhcp does",
        DELEGATION
        + "test_the_interface_is_there_when_addresses_are_asked_for "
        + DELEGATION
        + "test_a_caller_that_ignores_sigchld",
    ),
    # Section 5: results
    Row(
        "5 ADD",
        MUST,
        "the version of the input; all interfaces with MAC, MTU and sandbox; addresses, routes, DNS",
        RESULTS + "test_a_result_lists_what_was_made",
    ),
    Row(
        "5 ADD",
        MAY,
        "a route without gateway may use that of an address; one on link has none",
        RESULTS
        + "test_a_route_on_link_has_no_gateway "
        + RESULTS
        + "test_a_gateway_outside_the_subnet_is_reached_over_a_route_on_link",
    ),
    Row("5 ADD", MUST, "prevResult is part of the result", ATTACH + "test_what_was_there_before_is_passed_on"),
    Row(
        "5 IPAM",
        MUST,
        "a delegated IPAM plugin's result has no interfaces and no indexes of them",
        DELEGATION + "test_we_are_delegated_to",
    ),
    Row(
        "5 VERSION",
        MUST,
        "the version that it was asked in, and those that are spoken",
        EXECUTION + "test_version_tells_what_it_was_asked_in_and_what_is_spoken",
    ),
    Row(
        "5 Error", SHOULD, "cniVersion, code, msg and details", RESULTS + "test_an_error_says_what_and_in_which_version"
    ),
    Row(
        "5 Error",
        MUST,
        "an error 2 names key and value of a field that is not supported",
        why_not="unknown keys are ignored, which section 1 allows; a wrong value of a known one is error 7",
    ),
    Row("5 Error", MUST, "an error 4 names the variables", RESULTS + "test_codes_are_the_specifications"),
    Row("5 Error", MAY, "codes from 100 on are a plugin's own", RESULTS + "test_our_own_codes_are_beyond_99"),
    Row("5 Error", MAY, "standard error is for what people read", DELEGATION + "test_its_standard_error_is_ours"),
]

CONVENTION = [
    Row(
        "Plugins",
        SHOULD,
        "support the conventions that make sense: ipRanges, ips, mac",
        CONVENTIONS
        + "test_ranges_of_the_runtime "
        + CONVENTIONS
        + "test_addresses_of_the_runtime "
        + CONVENTIONS
        + "test_a_mac_of_the_runtime",
    ),
    Row(
        "Capabilities",
        SHOULD,
        "an error where a field cannot be acted on, or is malformed",
        CONVENTIONS
        + "test_what_is_asked_for_and_malformed_is_an_error "
        + CONVENTIONS
        + "test_an_address_that_cannot_be_given_is_an_error",
    ),
    Row(
        "Capabilities",
        SHOULD,
        "portMappings, bandwidth, aliases, cgroupPath, infinibandGUID, deviceID, dns",
        why_not="other plugins' work, behind ours in a chain (portmap, bandwidth, tuning); tests/chain runs them",
    ),
    Row("args", SHOULD, "ignore what is not understood", CONVENTIONS + "test_args_that_are_not_known_are_ignored"),
    Row(
        "args",
        MAY,
        "ips: addresses that the pod is to have, with or without prefix length",
        CONVENTIONS + "test_addresses_of_args",
    ),
    Row("CNI_ARGS", MAY, "IP: an address that the pod is to have", CONVENTIONS + "test_an_address_of_cni_args"),
    Row(
        "CNI_ARGS",
        MUST,
        "ignore CNI_ARGS where args asks for the same",
        CONVENTIONS + "test_the_newer_way_to_ask_counts_and_the_older_is_ignored",
    ),
    Row(
        "Chained",
        SHOULD,
        "work on an interface that is there, where its type does not matter",
        why_not="it does: names, MACs and what DEL takes away are those of our veth; what is there is passed on",
    ),
    Row(
        "Chained",
        MAY,
        "make the interface where the plugin comes first",
        ATTACH + "test_add_makes_the_interface_that_is_asked_for",
    ),
]

ROWS = SPEC + CONVENTION

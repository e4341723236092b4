"""The system-call filter, interpreted as the kernel would: what is let through and what is refused."""

from __future__ import annotations

import struct

import pytest

from codecard.sandbox.seccomp import AUDIT_ARCH, FORBIDDEN, seccomp_filter

ALLOW, EPERM, ENOSYS, NO_FAMILY = 0x7FFF0000, 0x00050001, 0x00050026, 0x00050061


def ask(number: int, *arguments: int, machine: str = "x86_64", arch: int | None = None) -> int:
    """What the filter answers to a call: a small interpreter of the five BPF operations that it uses."""
    data = struct.pack("<iIQ6Q", number, arch or AUDIT_ARCH[machine], 0, *[*arguments, *[0] * 6][:6])
    code = list(struct.iter_unpack("HBBI", seccomp_filter(machine)))
    at, held = 0, 0
    while True:
        operation, yes, no, value = code[at]
        at += 1
        if operation == 0x06:
            return int(value)
        if operation == 0x20:
            held = struct.unpack_from("<I", data, value)[0]
        else:
            holds = {0x15: held == value, 0x35: held >= value, 0x45: bool(held & value)}[operation]
            at += yes if holds else no


@pytest.mark.parametrize(("machine", "column"), [("x86_64", 0), ("aarch64", 1)])
def test_a_forbidden_call_is_refused(machine: str, column: int) -> None:
    for name, numbers in FORBIDDEN.items():
        if numbers[column] >= 0:
            assert ask(numbers[column], machine=machine) == EPERM, name


def test_an_everyday_call_is_let_through() -> None:
    for number in (0, 1, 2, 9, 56, 57, 58, 59, 61, 62, 202, 231, 257):  # read … openat
        assert ask(number) == ALLOW


@pytest.mark.parametrize("number", [302, 203, 144, 142, 314])
def test_a_program_changes_its_own_limits_and_cores_and_not_the_agents(number: int) -> None:
    """The agent has the program's user id, so only the filter stands between them."""
    assert ask(number, 0, 7) == ALLOW
    assert ask(number, 1, 7) == EPERM


def test_a_program_changes_its_own_priority_alone() -> None:
    assert ask(141, 0, 0, 5) == ALLOW
    assert ask(141, 0, 1, 19) == EPERM
    assert ask(141, 2, 0, 19) == EPERM


def test_only_unix_sockets_can_be_opened() -> None:
    assert ask(41, 1, 1) == ALLOW
    for family in (2, 10, 16, 17, 40):
        assert ask(41, family, 1) == NO_FAMILY


def test_clone_makes_threads_and_no_namespaces() -> None:
    assert ask(56, 0x003D0F00) == ALLOW  # a thread
    for flag in (0x00020000, 0x10000000, 0x20000000, 0x40000000, 0x08000000):
        assert ask(56, flag | 17) == EPERM
    assert ask(435) == ENOSYS


def test_calls_of_another_abi_are_refused() -> None:
    assert ask(57, arch=0x40000003) == EPERM  # i386
    assert ask(0x40000000 | 57) == EPERM  # x32

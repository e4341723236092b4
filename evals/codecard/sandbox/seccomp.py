"""The system-call filter of every slot, as the classic BPF program that the agent installs for itself and all below.

Docker's default profile is in force besides under Docker; under bubblewrap this filter is the only one. Refused
with EPERM is what no test program needs and what could reach the kernel's wider surface, the agent, or the next
program: other processes' memory and limits, namespaces and mounts, kernel keys, System V and POSIX IPC, io_uring.
"""

from __future__ import annotations

import struct

Rule = tuple[int, int, int, int]

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ABSENT = -1  # no such call on this machine

# Numbers on x86-64 and aarch64.
FORBIDDEN: dict[str, tuple[int, int]] = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    "ioprio_set": (251, 30),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "memfd_create": (319, 279),  # memory that no process's resident size shows
    "memfd_secret": (447, 447),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "syslog": (103, 116),
    "iopl": (172, ABSENT),
    "ioperm": (173, ABSENT),
    "modify_ldt": (154, ABSENT),
    "uselib": (134, ABSENT),
    "lookup_dcookie": (212, 18),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "vhangup": (153, 58),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "personality": (135, 92),
    "inotify_init": (253, ABSENT),
    "inotify_init1": (294, 26),
    "fanotify_init": (300, 262),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
}
# Calls that name a process in their first argument: allowed on the caller only (0). The agent has the program's
# user id, so the kernel would let a program change the agent's limits, scheduling and cores.
ONLY_ON_ONESELF: dict[str, tuple[int, int]] = {
    "prlimit64": (302, 261),
    "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),
}
SETPRIORITY = (141, 140)
SOCKET = (41, 198)
AF_UNIX = 1
CLONE = (56, 220)
CLONE3 = (435, 435)
NEW_NAMESPACES = 0x7E020080  # CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET | NEWTIME

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _ANSWER = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCH, _ARG0, _ARG1 = 0, 4, 16, 24  # offsets in struct seccomp_data; the low words of the arguments
_ALLOW, _EPERM, _ENOSYS, _EAFNOSUPPORT = 0x7FFF0000, 0x00050001, 0x00050026, 0x00050061


def seccomp_filter(machine: str) -> bytes:
    """The filter for `x86_64` or `aarch64`. KeyError for another machine.

    clone3 fails with ENOSYS, so that the C library falls back to clone, whose flags a filter can see; a socket of
    any family but AF_UNIX fails as on a machine without network.
    """
    column = 0 if machine == "x86_64" else 1
    code: list[Rule] = [
        (_LOAD, 0, 0, _ARCH),
        (_EQUAL, 1, 0, AUDIT_ARCH[machine]),
        (_ANSWER, 0, 0, _EPERM),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if machine == "x86_64":  # the x32 ABI has numbers of its own: refuse it whole
        code += [(_AT_LEAST, 0, 1, 0x40000000), (_ANSWER, 0, 0, _EPERM)]
    for numbers in FORBIDDEN.values():
        if numbers[column] != ABSENT:
            code += [(_EQUAL, 0, 1, numbers[column]), (_ANSWER, 0, 0, _EPERM)]
    code += [(_EQUAL, 0, 1, CLONE3[column]), (_ANSWER, 0, 0, _ENOSYS)]
    for numbers in ONLY_ON_ONESELF.values():
        code += [(_EQUAL, 0, 4, numbers[column]), *_unless(_ARG0, 0, _EPERM)]
    code += [
        (_EQUAL, 0, 6, SETPRIORITY[column]),  # which = PRIO_PROCESS and who = 0
        (_LOAD, 0, 0, _ARG0),
        (_EQUAL, 0, 2, 0),
        (_LOAD, 0, 0, _ARG1),
        (_EQUAL, 1, 0, 0),
        (_ANSWER, 0, 0, _EPERM),
        (_ANSWER, 0, 0, _ALLOW),
    ]
    code += [(_EQUAL, 0, 4, SOCKET[column]), *_unless(_ARG0, AF_UNIX, _EAFNOSUPPORT)]
    code += [
        (_EQUAL, 0, 3, CLONE[column]),
        (_LOAD, 0, 0, _ARG0),
        (_ANY_BIT, 0, 1, NEW_NAMESPACES),
        (_ANSWER, 0, 0, _EPERM),
        (_ANSWER, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("HBBI", operation, yes, no, value) for operation, yes, no, value in code)


def _unless(argument: int, value: int, answer: int) -> list[Rule]:
    """Four instructions: allow the call when the argument has this value, answer it so when not."""
    return [(_LOAD, 0, 0, argument), (_EQUAL, 0, 1, value), (_ANSWER, 0, 0, _ALLOW), (_ANSWER, 0, 0, answer)]

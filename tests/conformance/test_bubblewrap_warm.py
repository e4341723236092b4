"""The warm ways of the host's own toolchains, which nobody has made an image of."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest

from codecard.sandbox import open_sandbox


@pytest.mark.bwrap
def test_the_hosts_java_is_warm(bubblewrap: None, absent: Callable[[str, str], None]) -> None:
    """As root it is made by a nobody, in a folder that must be this nobody's: else all is slow and silent."""
    if not shutil.which("javac"):
        absent("no javac", "install the openjdk-17-jdk-headless package")
    assert open_sandbox("bwrap").image("java").warm

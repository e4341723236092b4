"""How fast this machine is: CPU limits mean the same program on every machine only when they are scaled by it.

Measured as the CPU seconds of a fixed piece of interpreter work inside the sandbox, the smallest of several turns
(a busy machine only ever adds), over those of the reference machine. Kept per processor model in the cache folder.
"""

from __future__ import annotations

import hashlib
import math
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

from codecard.files import make_dir, read_json, write_json
from codecard.model import Stage, StageLimits, UsageError
from codecard.paths import cache_dir
from codecard.sandbox.port import Sandbox, StageRequest

REFERENCE_S = 0.105
"""CPU seconds of `WORK` on the reference machine: a virtual machine with two cores, Debian 12, Python 3.11."""
LANGUAGE = "py"
TURNS = 5
WORK = """
words = {}
for n in range(600_000):
    key = str(n * 7919 % 10007)
    words[key] = words.get(key, 0) + len(key)
assert sum(sorted(words.values())) > 0
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFactor:
    """`factor` 2 says: give every program twice the CPU seconds."""

    factor: float
    seconds: float
    reference_seconds: float
    processor: str


def measure_host_factor(sandbox: Sandbox) -> HostFactor:
    """Raises SlotDied or InfrastructureError when the Python sandbox does not work."""
    request = StageRequest(
        command=("python3", "f.py"), files={"f.py": WORK.encode()}, limits=StageLimits(cpu_s=60, wall_s=300)
    )
    slot = sandbox.open_slot(LANGUAGE, Stage.RUN)
    try:
        seconds = min(slot.run(request).cpu_s for _ in range(TURNS))
    finally:
        slot.close()
    return HostFactor(factor=factor_of(seconds), seconds=seconds, reference_seconds=REFERENCE_S, processor=_processor())


def factor_of(seconds: float) -> float:
    """Never below 1 (nobody gets less than the protocol says), in steps of a quarter.

    The steps keep the limits, and with them the keys of executions, the same from one measurement to the next.
    """
    return max(1.0, math.ceil((seconds / REFERENCE_S - 0.15) * 4) / 4)


def store_host_factor(measured: HostFactor) -> Path:
    path = _path()
    make_dir(path.parent)
    write_json(path, asdict(measured))
    return path


def stored_host_factor() -> float:
    """What `codecard doctor` measured on this kind of machine; 1 where it never did."""
    try:
        factor = float(read_json(_path())["factor"])
    except (UsageError, ValueError, KeyError, TypeError):
        return 1.0
    return factor if math.isfinite(factor) and factor >= 1 else 1.0


def _path() -> Path:
    name = hashlib.sha256(_processor().encode()).hexdigest()[:12]
    return cache_dir() / f"host-factor-{name}.json"


def _processor() -> str:
    """The processor's own name: one cache folder may serve the different nodes of a cluster."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    named = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    return named or f"{platform.machine()} {platform.processor()}".strip()

"""The doctor's own rules: what it expects, how it reports, and how the host factor is kept."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from codecard.languages import language_names
from codecard.model import Execution, Verdict
from codecard.report.doctor import doctor_report
from codecard.sandbox import host
from codecard.sandbox.doctor import EXPECTED, Diagnosis, Finding, _judged
from codecard.sandbox.host import HostFactor, factor_of, store_host_factor, stored_host_factor
from codecard.sandbox.known import known_programs


@pytest.mark.parametrize("language", language_names())
def test_every_wall_is_tried_in_every_language(language: str) -> None:
    for kind in EXPECTED:
        assert known_programs(language)[kind].language == language


def test_an_open_wall_is_never_called_fine() -> None:
    """A program that reached the network passed: that is the one verdict it must not get."""
    found = _judged("py network", Execution(verdict=Verdict.PASSED))
    assert (found.language, found.kind, found.fine) == ("py", "network", False)
    assert _judged("py network", Execution(verdict=Verdict.RUNTIME_ERROR)).fine


def test_what_is_off_is_told_in_the_report() -> None:
    finding = Finding(language="rs", kind="floods", fine=False, expected="output_limit", seen="timeout", detail="why")
    tools = Finding(language="rs", kind="toolchain", fine=True, expected="there", seen="rustc 1", detail="sha256:1")
    diagnosis = Diagnosis(sandbox="docker", findings=(tools, finding))
    shown = io.StringIO()
    Console(file=shown, width=80).print(doctor_report(diagnosis))
    assert not diagnosis.fine
    assert "rs floods: expected output_limit, seen timeout (why)" in shown.getvalue()
    assert "something is off" in shown.getvalue()


@pytest.mark.parametrize(
    ("seconds", "factor"), [(0.05, 1.0), (0.105, 1.0), (0.12, 1.0), (0.15, 1.5), (0.21, 2.0), (1.05, 10.0)]
)
def test_only_a_machine_slower_beyond_noise_raises_the_host_factor(seconds: float, factor: float) -> None:
    assert factor_of(seconds) == factor


def test_a_broken_cache_counts_as_no_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODECARD_CACHE", str(tmp_path))
    assert stored_host_factor() == 1.0
    path = store_host_factor(HostFactor(factor=2.5, seconds=0.3, reference_seconds=0.1, processor="x"))
    assert stored_host_factor() == 2.5
    for text in ("", "{}", '{"factor": "fast"}', '{"factor": NaN}', '{"factor": 0.1}'):
        path.write_text(text)
        assert stored_host_factor() == 1.0
    assert host.REFERENCE_S > 0

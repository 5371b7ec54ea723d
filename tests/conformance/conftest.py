"""Prints, at the end of a run, how far the compiler and onnxruntime agreed."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests recorded as "agreement" (record_property travels from pytest-xdist's workers too)."""
    reports = [r for kind in ("passed", "failed") for r in terminalreporter.stats.get(kind, [])]
    found = [(r.nodeid, text) for r in reports for name, text in r.user_properties if name == "agreement"]
    if found:
        terminalreporter.section("agreement with onnxruntime and onnx's node tests")
    for nodeid, text in sorted(found):
        terminalreporter.write_line(f"{nodeid.rsplit('::', 1)[-1]}: {text}")

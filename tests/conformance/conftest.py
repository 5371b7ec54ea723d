"""Prints, at the end of a run, how far the compiler and onnxruntime agreed."""

from __future__ import annotations

import pytest

from layerwise import Agreement


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests recorded (record_property travels from pytest-xdist's workers too)."""
    reports = [r for kind in ("passed", "failed") for r in terminalreporter.stats.get(kind, [])]
    found = [(r.nodeid, text) for r in reports for name, text in r.user_properties if name == "agreement"]
    each = [text for r in reports for name, text in r.user_properties if name == "random network"]
    if found or each:
        terminalreporter.section("agreement with onnxruntime and onnx's node tests")
    for nodeid, text in sorted(found):
        terminalreporter.write_line(f"{nodeid.rsplit('::', 1)[-1]}: {text}")
    if each:
        total = Agreement()
        for text in each:
            total.merge(Agreement.from_json(text))
        terminalreporter.write_line(f"{len(each)} random networks\n{total.text()}")

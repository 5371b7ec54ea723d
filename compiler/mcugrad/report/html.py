"""The HTML report of a compiled model: one file that needs no network, the same bytes for the same compilation.

check_report(path)                       # before anything is written
write_report(path, render(Report(manifest, parameters, memory)))
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcugrad.errors import McugradError
from mcugrad.files import write_file
from mcugrad.report.facts import ParameterFacts
from mcugrad.report.html_graph import build_graph
from mcugrad.report.html_memory import build_memory
from mcugrad.report.html_scales import error_rows, scale_axis, scale_rows
from mcugrad.report.numbers import bytes_text, count_text, share_text

GENERATOR = '<meta name="generator" content="mcugrad report">'
_HEAD_BYTES = 1024  # the generator's line lies within these
ROW = 30  # height of a layer in the graph, in pixels; report.css says the same


@dataclass(frozen=True)
class Report:
    """`memory` is the board's SRAM and flash in bytes, None for a board without limits (the host)."""

    manifest: Mapping[str, Any]
    parameters: Sequence[ParameterFacts]
    memory: tuple[int, int] | None


@dataclass(frozen=True)
class Meter:
    """Bytes of a memory: `parts` are (word, bytes, class of colour); `budget` 0 is no limit."""

    name: str
    used: int
    budget: int
    parts: list[tuple[str, int, str]]


def check_report(path: Path, folder: Path | None = None) -> None:
    """Raises McugradError when `path` is no place for a report, or holds something that is not one of ours.

    `folder` is about to be made, so the report may lie there.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise McugradError(f"--report writes HTML, and '{path.name}' is not named so: give it a name ending in .html")
    if path.is_dir():
        raise McugradError(f"{path} is a folder: give --report the name of a file")
    parent = path.resolve().parent
    if not parent.is_dir() and (folder is None or parent != folder.resolve()):
        raise McugradError(f"{path.parent} does not exist: create it, or give --report another file")
    if parent.is_dir() and not os.access(parent, os.W_OK):
        raise McugradError(f"{path.parent} cannot be written: give --report another file")
    if path.exists() and not _is_ours(path):
        raise McugradError(f"{path} exists and is no report of mcugrad's: give --report another file, or remove it")


def _is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        return GENERATOR.encode() in file.read(_HEAD_BYTES)


def write_report(path: Path, html: str) -> None:
    """The whole file or none of it, over an earlier report only. Raises McugradError, OSError."""
    check_report(path)
    write_file(path, html.encode())


def render(report: Report) -> str:
    """The report's text."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mcugrad.report"),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        autoescape=True,  # names come from graphs
    )
    environment.filters |= {
        "bytes": bytes_text,
        "count": count_text,
        "comma": lambda n: f"{n:,}",
        "three": lambda x: f"{x:.3g}",
        "px": lambda x: f"{x:.2f}".rstrip("0").rstrip("."),
        "by": lambda shape: "×".join(map(str, shape)) or "scalar",
    }
    environment.globals |= {"share": share_text, "percent": lambda part, whole: 100 * part / whole if whole else 0}
    return environment.get_template("report.html.j2").render(_context(report))


def _context(report: Report) -> dict[str, Any]:
    manifest, parameters = report.manifest, report.parameters
    graph = build_graph(manifest, parameters)
    rows = [node for node in graph.nodes if node.part != "input"]
    return {
        "generator": GENERATOR,
        "m": manifest,
        "trains": manifest["loss"] is not None,
        "row": ROW,
        "graph": graph,
        "forward_calls": sum(call["phase"] == "forward" for call in manifest["calls"]),
        "rows": rows,
        "most": {
            key: max((getattr(n, key) for n in rows), default=0) or 1
            for key in ("forward", "dgrad", "wgrad", "flash", "state", "output", "kept", "errors")
        },
        "most_macs": max((n.forward + n.backward for n in rows), default=0) or 1,
        "memory": build_memory(manifest),
        "meters": _meters(report),
        "scales": scale_rows(manifest, parameters, graph),
        "axis": scale_axis(parameters),
        "errors": error_rows(manifest),
        "trained_values": sum(p.values for p in parameters),
        "all_values": sum(p.elements for p in parameters),
        "dead": sum(p.dead for p in parameters if not p.is_bias),
        "at_limit": sum(p.at_limit or 0 for p in parameters),
        "int8_weights": sum(p.elements for p in parameters if p.at_limit is not None),
    }


def _meters(report: Report) -> list[Meter]:
    sram, flash = report.manifest["predicted"]["sram"], report.manifest["predicted"]["flash"]
    state = report.manifest["state_bytes"]
    ram_size, flash_size = report.memory or (0, 0)
    constants = sum(row["bytes"] for row in report.manifest["tensors"] if row["kind"] == "const")
    ram_parts = [
        ("arena", sram["arena"], "p-activation"),
        ("trained state", state, "p-weights"),
        ("session and counters", sram["static"] - sram["arena"] - state, "p-vector"),
        ("stack reserve", sram["stack"], "p-frozen"),
    ]
    flash_parts = [
        ("constants", constants, "p-activation"),
        ("factory state, descriptors", flash["const"] - constants, "p-weights"),
        ("code (upper bound)", flash["code"], "p-frozen"),
    ]
    return [
        Meter("SRAM", sram["total"], ram_size, [p for p in ram_parts if p[1]]),
        Meter("flash", flash["total"], flash_size, [p for p in flash_parts if p[1]]),
    ]

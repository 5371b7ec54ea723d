"""The memory map of the HTML report: where every tensor lies in the arena, from its first to its last kernel call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mcugrad.report.numbers import bytes_text

WIDTH, LEFT, RIGHT = 1180, 66, 10  # of the drawing, in its own units (pixels at 1280)
LIVE_TOP, LIVE_HEIGHT, MAP_TOP, MAP_HEIGHT, BOTTOM = 22, 64, 100, 400, 34
LETTER, LINE = 6.1, 12  # of a label inside a block
WORDS = {
    "input": "input",
    "activation": "activation",
    "mask": "saturation mask, 1 bit a value",
    "error": "error (gradient)",
    "vector": "float32 vector of the head or loss",
    "scratch": "scratch of one call",
}


@dataclass(frozen=True)
class Block:
    """A tensor in the picture. `tip` is several lines of plain text; `label` is empty where there is no room."""

    kind: str
    x: float
    y: float
    width: float
    height: float
    tip: str
    label: str


@dataclass(frozen=True)
class Tick:
    """A line of an axis."""

    at: float
    label: str


@dataclass(frozen=True)
class Instant:
    """A kernel call, for the readout under the pointer. `live` are the bytes alive while it runs."""

    label: str
    kernel: str
    phase: str
    live: int


@dataclass(frozen=True)
class MemoryMap:
    """All positions are in units of the drawing."""

    blocks: list[Block]
    instants: list[Instant]
    steps: str  # SVG path of the bytes alive
    peak: int  # the call with most bytes alive
    peak_at: tuple[float, float]
    bytes_ticks: list[Tick]
    call_ticks: list[Tick]
    split: float  # where the backward begins
    call_width: float
    legend: list[tuple[str, str]]

    @property
    def height(self) -> int:
        return MAP_TOP + MAP_HEIGHT + BOTTOM


def build_memory(manifest: Mapping[str, Any]) -> MemoryMap:
    """The picture of `manifest`'s arena."""
    calls = manifest["calls"]
    rows = [r for r in manifest["tensors"] if "offset" in r and "shares_bytes_of" not in r and r["bytes"]]
    arena = max(int(manifest["arena_bytes"]), 1)
    wide = (WIDTH - LEFT - RIGHT) / max(len(calls), 1)
    instants = _instants(manifest, rows)
    live = [i.live for i in instants] or [0]
    top = max(*live, 1)
    peak = live.index(max(live))
    forward = sum(c["phase"] == "forward" for c in calls)
    return MemoryMap(
        [_block(row, manifest, wide, arena) for row in sorted(rows, key=lambda r: (r["lifetime"], r["offset"]))],
        instants,
        _steps(live, wide, top),
        peak,
        (LEFT + (peak + 0.5) * wide, LIVE_TOP + LIVE_HEIGHT * (1 - live[peak] / top)),
        [Tick(_y(b, arena), bytes_text(b)) for b in range(0, arena + 1, _step(arena, 9))],
        [Tick(LEFT + (i + 0.5) * wide, str(i)) for i in range(0, len(calls), _decimal_step(len(calls), 14))],
        LEFT + forward * wide,
        wide,
        [(kind, word) for kind, word in WORDS.items() if any(r["kind"] == kind for r in rows)],
    )


def _y(offset: int, arena: int) -> float:
    return MAP_TOP + MAP_HEIGHT * (1 - offset / arena)


def _block(row: Mapping[str, Any], manifest: Mapping[str, Any], wide: float, arena: int) -> Block:
    first, last = row["lifetime"]
    width, height = (last - first + 1) * wide, MAP_HEIGHT * row["bytes"] / arena
    fits = height > LINE + 2 and width > LETTER * len(row["name"]) + 6
    x, y = LEFT + first * wide, _y(row["offset"] + row["bytes"], arena)
    return Block(row["kind"], x, y, width, height, _tip(row, manifest), row["name"] if fits else "")


def _tip(row: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    calls, (first, last) = manifest["calls"], row["lifetime"]
    end = row["offset"] + row["bytes"]
    guests = [r["name"] for r in manifest["tensors"] if r.get("shares_bytes_of") == row["name"]]
    lines = [
        row["name"],
        f"{WORDS.get(row['kind'], row['kind'])} · {row['dtype']} {'×'.join(map(str, row['shape'])) or 'scalar'}",
        f"{row['bytes']:,} bytes at {row['offset']:,} … {end - 1:,}",
        f"alive in calls {first} … {last}: {_at(calls, first)} … {_at(calls, last)}",
    ]
    if guests:
        lines.append(f"the same bytes, later or seen otherwise: {', '.join(guests)}")
    return "\n".join(lines)


def _at(calls: Sequence[Mapping[str, Any]], index: int) -> str:
    return f"{calls[index]['layer']} ({calls[index]['phase']})" if index < len(calls) else "the end"


def _instants(manifest: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[Instant]:
    instants = []
    for call in manifest["calls"]:
        live = sum(r["bytes"] for r in rows if r["lifetime"][0] <= call["index"] <= r["lifetime"][1])
        word = " update" if call["work"] == "wgrad" else ""
        instants.append(Instant(f"{call['layer']}{word}", call["kernel"], call["phase"], live))
    return instants


def _steps(live: Sequence[int], wide: float, top: int) -> str:
    floor = LIVE_TOP + LIVE_HEIGHT
    path = [f"M{LEFT} {floor}"]
    for index, count in enumerate(live):
        path.append(f"V{floor - LIVE_HEIGHT * count / top:.2f}H{LEFT + (index + 1) * wide:.2f}")
    return "".join([*path, f"V{floor}Z"])


def _step(top: int, ticks: int) -> int:
    """A power of two, so that labels are whole kilobytes."""
    step = 1
    while top / step > ticks:
        step *= 2
    return step


def _decimal_step(count: int, ticks: int) -> int:
    return next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10**9) if count / s <= ticks)

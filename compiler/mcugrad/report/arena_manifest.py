"""The picture of a compiled model's arena, from its manifest.json: what `arena_picture` draws, found in the manifest.

draw_manifest(Path("arena.svg"), json.loads(Path("DIR/manifest.json").read_text()), title="watch")
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mcugrad.report.arena_picture import Call, Tensor, draw_arena


def draw_manifest(path: Path, manifest: Mapping[str, Any], title: str = "", ram_bytes: int = 0) -> None:
    """Draw the arena of `manifest` to `path`, .svg or .png; equal manifests give equal bytes.

    `ram_bytes`: SRAM of the board; what the rest of the program leaves of it is the arena's budget, 0 draws none.
    Raises McugradError for another suffix.
    """
    budget = arena_budget(manifest, ram_bytes) if ram_bytes else 0
    name = title or f"{manifest['name']}: the arena over one {'training step' if manifest['loss'] else 'inference'}"
    draw_arena(path, name, arena_tensors(manifest), arena_calls(manifest), manifest["arena_bytes"], budget)


def arena_tensors(manifest: Mapping[str, Any]) -> Sequence[Tensor]:
    """Every tensor with bytes of its own in the arena; those that share another's bytes (views, in-place) are not
    repeated: the lifetime of the owner spans them."""
    rows = [row for row in manifest["tensors"] if "offset" in row and "shares_bytes_of" not in row]
    return [Tensor(r["name"], r["kind"], r["offset"], r["bytes"], *r["lifetime"]) for r in rows]


def arena_calls(manifest: Mapping[str, Any]) -> Sequence[Call]:
    """The kernel calls in order: the layer's name; with `update` where its parameters change, with `error` where an
    error tensor is written."""
    errors = {row["name"] for row in manifest["tensors"] if row["kind"] == "error"}

    def label(row: Mapping[str, Any]) -> str:
        if row["work"] == "wgrad":
            return f"{row['layer']} update"
        return f"{row['layer']} error" if errors.intersection(row["writes"]) else str(row["layer"])

    return [Call(label(row), row["phase"]) for row in manifest["calls"]]


def arena_budget(manifest: Mapping[str, Any], ram_bytes: int) -> int:
    """Bytes that the arena could grow to on a board with `ram_bytes`: all that state, session and stack leave."""
    sram: Mapping[str, int] = manifest["predicted"]["sram"]
    return max(0, ram_bytes - (sram["total"] - sram["arena"]))

"""The figures of `make bench` as Markdown, and as a picture."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .kernels.measure import per_mac
from .reference import GOALS, TTE, Figures

LAYERS_OF = ("mcunet-49kb", "mps2-an386")  # the network and board whose layers are listed and drawn


def markdown(bench: dict[str, Any]) -> str:
    """BENCH.md; `bench` as run.py collects it."""
    layers = next(n for n in bench["networks"] if (n["network"], n["board"]) == LAYERS_OF)["layers"]
    return _TEXT.format(
        **bench,
        networks_table=table(networks(bench["networks"])),
        kernels_table=table(per_mac(bench["kernels"])),
        layers_network=", ".join(LAYERS_OF),
        layers_table=table([["layer", "instructions", "MACs", "per MAC"], *map(_layer, layers)]),
    )


def table(lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table of a heading and lines; all but the first column to the right."""
    heading, *rest = lines
    rule = ["---", *["---:"] * (len(heading) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (heading, rule, *rest))


def networks(found: Iterable[dict[str, Any]]) -> list[list[str]]:
    """A line a network and board, behind it the reference and the goals where there are any."""
    lines = [["network", "board", "forward, M", "step, M", "per MAC", "SRAM with stack", "flash"]]
    for row in found:
        name, board = row["network"], row["board"]
        ours = Figures(
            row["forward_instructions"], row["step_instructions"], row["sram"]["total"], row["flash"]["total"]
        )
        lines.append([name, board, *_cells(ours, sum(row["macs"].values()))])
        if name == LAYERS_OF[0]:
            lines.append(["– TTE", board, *_cells(TTE[board])])
        if board == LAYERS_OF[1]:
            goals = zip(("must", "aim"), GOALS.get(name, ()), strict=False)
            lines += [[f"– {word}", board, *_cells(goal)] for word, goal in goals if goal != Figures()]
    return lines


def _cells(figures: Figures, macs: int = 0) -> list[str]:
    millions = (f"{n / 1e6:.2f}" if n else "" for n in (figures.forward, figures.step))
    work = figures.step or figures.forward
    share = f"{work / macs:.2f}" if macs and work else ""
    return [*millions, share, *(f"{n:,}" if n else "" for n in (figures.sram, figures.flash))]


def _layer(row: dict[str, Any]) -> list[str]:
    share = f"{row['instructions'] / row['macs']:.2f}" if row["macs"] else ""
    return [row["name"], f"{row['instructions']:,}", f"{row['macs']:,}" if row["macs"] else "", share]


_TEXT = """# What it costs

Made by `make bench`: mcugrad {version}, {compiler}, {qemu}. Executed instructions and bytes are
the same in every run and on every machine that has these tools; `mcugrad -h` took {help_milliseconds} ms on this one.

## Networks
A training step at batch 1 with the scheme of [models/schemes](../../models/schemes); *per MAC*: of the MACs that are
done, forward, dgrad and wgrad.

{networks_table}

TTE: the released code of "On-Device Training Under 256KB Memory" with its own flags, on the same emulated cores.

## Kernels
Instructions per MAC. CMSIS-NN at -O3, from the package `bakenn`; empty where it has no such kernel.

{kernels_table}

## Layers
One training step, {layers_network}: all that a layer executes, forward, backward and update. Layers that
are streamed together count as one.

{layers_table}

![MACs an instruction over MACs a byte](roofline.svg)

A point is a layer. The roof is what the instruction set allows: two MACs an instruction (SMLAD), and four bytes a load
or store, every tensor that a layer's calls read or write counted once a call.
"""

"""What ours is measured against on mcunet-5fps with the 49 KB scheme and 10 classes.

TTE: the released code of "On-Device Training Under 256KB Memory" (NeurIPS 2022), built with its own flags (-Ofast) and
counted on the same emulated cores (QEMU, Cortex-M4 and Cortex-M7; gcc 12.2): 22.49 M MACs forward.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figures:
    """Executed instructions and bytes; SRAM with the stack. None: not known, or not asked."""

    forward: int | None = None
    step: int | None = None
    sram: int | None = None
    flash: int | None = None


TTE = {  # board -> figures
    "mps2-an386": Figures(65_300_000, 120_100_000, 253_452, 671_556),
    "mps2-an500": Figures(65_000_000, 106_400_000, 253_452, 664_964),
}
# What the project set itself: (must, aim) by network.
GOALS = {
    "mcunet-49kb": (
        Figures(30_000_000, 45_000_000, 100 * 1024, 620_000),
        Figures(27_000_000, 38_000_000, 88 * 1024, 580_000),
    ),
    "mcunet-49kb, pushed": (Figures(sram=84 * 1024), Figures(sram=72 * 1024)),
    "mobilenetv2-w0.35": (Figures(sram=100 * 1024), Figures()),
    "mobilenetv2-w0.35, pushed": (Figures(sram=84 * 1024), Figures()),
    "proxylessnas-w0.3": (Figures(sram=100 * 1024), Figures()),
    "proxylessnas-w0.3, pushed": (Figures(sram=84 * 1024), Figures()),
}

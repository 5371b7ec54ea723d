"""The command line that the proofs share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

AGAIN = "measure also what the file holds already"


def chosen(
    proof: str, doc: str | None, cells: Sequence[str], metavar: str, arguments: Sequence[str] | None, *, again: str
) -> tuple[list[str], bool]:
    """The cells named by --only, all of them without it, and whether --again was given; `again` is its help."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(f"python -m tests.bench.proofs.{proof}", description=doc, formatter_class=raw)
    parser.add_argument("--only", action="append", choices=cells, metavar=metavar, help=", ".join(cells))
    parser.add_argument("--again", action="store_true", help=again)
    options = parser.parse_args(arguments)
    return options.only or list(cells), options.again

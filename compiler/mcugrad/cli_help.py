"""How a command of the command line shows its help."""

from __future__ import annotations

import re
from typing import Any

from typer.core import TyperCommand


class HelpCommand(TyperCommand):
    """Help that names arguments by their metavar alone: `MODEL.onnx`, not `{MODEL.onnx}` and `MODEL.onnx <path>`."""

    def get_help(self, ctx: Any) -> str:
        text = re.sub(r"\{(PORT|MODEL\.onnx|DIR|STATE\|PORT|STATE|FILE\.state)\}", r"\1", super().get_help(ctx))
        return re.sub(r" <(path|str|list\[Path\])>(?=  )", lambda kind: " " * len(kind[0]), text)

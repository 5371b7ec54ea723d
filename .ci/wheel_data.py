"""Puts the C runtime and the board folders inside the wheel, as mcugrad/_data/; resources.py looks for them there.

A hook rather than hatchling's own force-include table, because that table also copies them into an editable install,
where a stale copy would hide the checkout's files.
"""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class WheelData(BuildHookInterface):  # type: ignore[type-arg, misc, unused-ignore]
    """Called by hatchling before it collects files."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the folders to `build_data` unless `version` is "editable"."""
        if version != "editable":
            for folder in ("runtime_c", "targets"):
                build_data["force_include"][folder] = f"mcugrad/_data/{folder}"

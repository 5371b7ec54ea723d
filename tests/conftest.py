"""Hands tests to pytest-xdist's workers: a module as a whole, but random networks in batches."""

from __future__ import annotations

import re
from typing import Any

import pytest

BATCH = 10  # seeds
_SEED = re.compile(r"(.*)\[seed(\d+)\]$")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests of one module share their compiled models, so it stays on one worker; those of a seed share nothing."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            seed = _SEED.match(nodeid)
            if seed is None:
                return str(super()._split_scope(nodeid))
            return f"{seed[1]} batch {int(seed[2]) // BATCH}"

    return Scheduling(config, log) if config.getvalue("dist") == "loadscope" else None

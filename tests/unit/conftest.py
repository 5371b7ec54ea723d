"""Fixtures that several modules of this folder share."""

from __future__ import annotations

import pytest

from kernel_library import Kernels, build


@pytest.fixture(scope="session")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    """The C runtime, compiled for the host."""
    return build(tmp_path_factory.mktemp("kernels"))

"""The demo over a serial line in short: what it claims holds, and what is too little to claim is found."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from mcugrad.simulate.session import Records
from models.watch.demo_serial import Story

pytestmark = pytest.mark.device
FEW = 24  # windows: the line and the reset are as real, the learning is not


def test_the_story(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=100, record=True)
    story = Story(tmp_path, 1, console)
    story.train, story.test = (Records(r.x[:FEW], r.y[:FEW]) for r in (story.train, story.test))
    told = story.tell()
    claims = {text.partition(":")[0]: holds for holds, text in story.claims}
    learned = claims.pop("it learned its wearer")
    assert list(claims.values()) == [True] * 4, claims
    assert told == learned
    text = console.export_text()
    assert "Saved at step 24" in text
    assert text.count("NOT TRUE") == (0 if told else 1)

"""The demo in short: one wearer, one seed, one epoch; what it writes, and that its claims can fail."""

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console

from mcugrad.errors import McugradError
from mcugrad.simulate.board import load_board
from models import watch
from models.watch import demo, figures
from models.watch.demo import Plan

pytestmark = pytest.mark.device
BOARD = load_board("mps2-an386")


class Told:
    """A short run: the plan, the exit, what was printed, the wearers as they were judged."""

    def __init__(self, folder: Path) -> None:
        self.plan = Plan((2,), (0,), 1, folder)
        self.wearers: list[figures.Wearer] = []
        console = Console(file=io.StringIO(), width=100, record=True)
        self.holds = demo.run(self.plan, console)
        self.text = console.export_text()
        self.json: dict[str, Any] = json.loads((folder / "results.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    with pytest.MonkeyPatch.context() as patch:
        seen: list[figures.Wearer] = []
        claims = figures.claims

        def spy(wearers: list[figures.Wearer], board: Any) -> list[figures.Claim]:
            seen.extend(wearers)
            return claims(wearers, board)

        patch.setattr(demo, "claims", spy)
        story = Told(tmp_path_factory.mktemp("a demo") / "new")
        story.wearers = seen
        yield story


def test_the_device_learned(told: Told) -> None:
    (wearer,) = told.json["wearers"]
    (run,) = wearer["device"]["runs"]
    assert (wearer["subject"], wearer["train_windows"], wearer["held_out_windows"]) == (2, 133, 133)
    assert run["seed"] == 0
    assert run["steps"] == 133
    assert wearer["device"]["after"] > wearer["device"]["before"] + 0.05
    assert 0 < wearer["float32"]["runs"][0]["after"] <= 1


def test_the_json_names_command_settings_and_measurements(told: Told) -> None:
    found = told.json
    assert found["command"].startswith("python -m models.watch.demo --seeds 1 --epochs 1 --subject 2 --output ")
    assert (found["seeds"], found["epochs"], found["learning_rate"]) == ([0], 1, watch.LEARNING_RATE)
    assert len(found["date"]) == 10
    (wearer,) = found["wearers"]
    sram, flash, bench = wearer["sram"], wearer["flash"], wearer["bench"]
    assert sram["static"]["predicted"] == sram["static"]["linked"] == bench["sram"]["static"]
    assert 0 < sram["stack"]["high_water"] <= sram["stack"]["bound"] <= sram["stack"]["reserve"]
    assert 0 < flash["linked"] <= flash["predicted"] < 1 << 20
    assert 100_000 < bench["forward_instructions"] < bench["step_instructions"]


def test_the_picture_is_there_in_both_forms(told: Told) -> None:
    ElementTree.parse(told.plan.output / "arena.svg")
    assert (told.plan.output / "arena.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_and_the_verdict_are_printed(told: Told) -> None:
    accuracy = told.json["wearers"][0]["device"]
    words = ["Booting the firmware on an emulated Cortex-M4F with 256 KB of SRAM", "wearer 2", "256 KB", "1 MB"]
    words += [
        f"{accuracy['before']:.1%}",
        f"{accuracy['after']:.1%}",
        "training step",
        "A short run: the claims are about",
    ]
    for expected in words:
        assert expected in told.text
    assert told.holds == told.json["holds"] == all(claim["holds"] for claim in told.json["claims"])
    assert ("Everything claimed holds." in told.text) == told.holds
    assert told.text.count("✗ ") == sum(not claim["holds"] for claim in told.json["claims"])


def test_claims_fail_when_they_are_not_true(told: Told) -> None:
    (wearer,) = told.wearers
    (device,), (beside,) = wearer.device, wearer.float32

    def broken(changed: figures.Wearer) -> list[str]:
        return [claim.text for claim in figures.claims([changed], BOARD) if not claim.holds]

    good = replace(wearer, device=(replace(device, correct_before=91, correct_after=128),))
    good = replace(good, float32=(replace(beside, accuracy_after=128 / 133),))
    assert broken(good) == []
    worse = replace(good, float32=(replace(beside, accuracy_after=131 / 133),))
    assert [text[:53] for text in broken(worse)] == ["wearer 2: trained on the device within 2 points of fl"]
    idle = replace(good, device=(replace(device, correct_before=102, correct_after=128),))
    assert "at least 20 points gained" in broken(idle)[0]
    large = replace(good.firmware, sizes=replace(good.firmware.sizes, static=262_144))
    assert len(broken(replace(good, firmware=large))) == 2
    deep = replace(good, firmware=replace(good.firmware, stack_bound=device.stack_high_water - 8))
    assert "the stack stayed within its bound" in broken(deep)[0]


def test_a_wearer_whom_the_network_knows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(McugradError, match="the network has trained on subject 3"):
        demo.main(seeds=1, subject=[3], epochs=1, output=tmp_path / "none")
    assert not list(tmp_path.iterdir())


def test_the_picture_in_the_repository_is_small_and_dateless() -> None:
    path = Path(watch.__file__).parent / "arena.svg"
    assert path.stat().st_size < 300_000
    assert "<dc:date>" not in path.read_text(encoding="utf-8")
    ElementTree.parse(path)

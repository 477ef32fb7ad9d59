"""The simulation of docs/gate-validation.md in small: it decides as the gate does, and the gate is seldom wrong."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "gate_simulation.py"


@pytest.fixture(scope="module")
def simulation() -> Any:
    spec = importlib.util.spec_from_file_location("gate_simulation", FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["gate_simulation"] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


def test_the_simulation_decides_as_the_gate_does(simulation: Any) -> None:
    small = [one for one in simulation.scenarios() if one.items <= 300]
    assert len(small) >= 5 and {one.is_binary for one in small} == {True, False}
    assert sum("fall" in one.name or "los" in one.name for one in small) == 4
    assert sum(simulation.check(one, 2, 7) for one in small) == 0


def test_the_gate_keeps_its_word_where_a_threshold_tosses_a_coin(simulation: Any) -> None:
    for one in simulation.scenarios():
        found = simulation.simulate(one, 2000, simulation.SEED)
        # 2,000 draws know 5 % to 1.5 points at three standard errors, and 80 % to 2.7.
        assert found.false_pass < 0.065 and found.few_false_pass < 0.065, one.name
        assert found.power > 0.77, one.name
        assert found.threshold_false_pass > 0.4, one.name

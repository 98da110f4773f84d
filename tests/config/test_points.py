"""The points of a tuning: where they come from, and what does not change them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from bench.config.points import point_key, points_of
from bench.config.tuning import Tuning

RATE = {"learning_rate": {"from": 1e-5, "to": 1e-1, "scale": "log"}}
TWO = {**RATE, "weight_decay": {"from": 0.0, "to": 0.5}, "decay": ["linear", "constant"]}


def tuning(space: dict[str, Any], trials: int | None = 8, **more: Any) -> Tuning:
    return Tuning.model_validate({"space": space, "trials": trials, **more})


@pytest.mark.parametrize("sampler", ["sobol", "random"])
@pytest.mark.parametrize("space", [RATE, TWO], ids=["one-key", "three-keys"])
def test_the_first_points_do_not_depend_on_how_many_there_are(space: dict[str, Any], sampler: str) -> None:
    many = points_of(tuning(space, 64, sampler=sampler), "cola")
    assert len({point_key(point) for point in many}) == 64
    for trials in (2, 3, 5, 8, 32, 33):
        assert points_of(tuning(space, trials, sampler=sampler), "cola") == many[:trials]
    assert all(list(point) == list(space) for point in many)


@pytest.mark.parametrize("sampler", ["sobol", "random"])
def test_points_depend_on_the_task_and_on_the_seed_and_not_on_the_order_of_keys(sampler: str, tmp_path: Path) -> None:
    points = points_of(tuning(TWO, sampler=sampler), "cola")
    assert points_of(tuning(TWO, sampler=sampler), "sst2") != points
    assert points_of(tuning(TWO, sampler=sampler, sampler_seed=1), "cola") != points
    turned = dict(reversed(TWO.items()))
    assert points_of(tuning(turned, sampler=sampler), "cola") == points
    assert points_of(tuning(turned, sampler=sampler), "cola", tmp_path) == points


@pytest.mark.parametrize("seed", range(5))
def test_a_sobol_sequence_covers_every_part_of_each_range_alike(seed: int) -> None:
    points = points_of(tuning(TWO, 16, sampler_seed=seed), "cola")
    # Sixteen equal parts of each range hold a point each, but for the rounding of a value at their border.
    rates = sorted(math.log10(point["learning_rate"]) + 5 for point in points)
    weights = sorted(point["weight_decay"] for point in points)
    for part in range(16):
        assert part / 4 - 0.01 <= rates[part] <= (part + 1) / 4 + 0.01
        assert part / 32 - 0.001 <= weights[part] <= (part + 1) / 32 + 0.001
    assert sum(point["decay"] == "linear" for point in points) == 8


def test_values_lie_in_their_range_and_have_three_digits() -> None:
    space = {**RATE, "batch_size": {"from": 2, "to": 64, "scale": "log"}, "alpha": {"from": 1000, "to": 1004}}
    for point in points_of(tuning(space, 256), "cola"):
        assert 1e-5 <= point["learning_rate"] <= 1e-1
        assert float(f"{point['learning_rate']:.3g}") == point["learning_rate"]
        assert isinstance(point["batch_size"], int)
        assert 2 <= point["batch_size"] <= 64
        assert round(point["alpha"], 2) == point["alpha"]  # a hundredth of the range's last digit
        assert 1000 <= point["alpha"] <= 1004
    assert len({point["alpha"] for point in points_of(tuning(space, 256), "cola")}) > 100


def test_lists_alone_make_the_full_grid_and_more_values_keep_its_points() -> None:
    space = {"learning_rate": [1e-3, 2e-3], "epochs": [1, 2, 3]}
    points = points_of(tuning(space, None), "cola")
    assert [tuple(point.values()) for point in points] == [(r, e) for r in (1e-3, 2e-3) for e in (1, 2, 3)]
    assert points == points_of(tuning(space, 6), "sst2")
    wider = points_of(tuning({"epochs": [1, 2, 3], "learning_rate": [1e-3, 2e-3, 4e-3]}, None), "cola")
    assert {point_key(point) for point in points} < {point_key(point) for point in wider}


def test_as_many_points_as_are_allowed_can_be_drawn() -> None:
    assert len(points_of(tuning(TWO, 5000, sampler="random"), "cola")) == 5000


def test_a_small_space_is_drawn_to_its_last_point() -> None:
    space = {"batch_size": {"from": 2, "to": 6}, "decay": ["linear", "constant"]}
    assert len({point_key(point) for point in points_of(tuning(space, 10), "cola")}) == 10
    with pytest.raises(ValueError, match="the space has 10 different points, fewer than the 11 trials"):
        points_of(tuning(space, 11), "cola")


def test_the_memo_holds_what_is_drawn_and_a_damaged_one_is_drawn_again(tmp_path: Path) -> None:
    here = tuning(TWO, 8)
    points = points_of(here, "cola", tmp_path)
    assert points == points_of(here, "cola")
    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_bytes()) == list(points)
    for number, damage in enumerate(["", "[", "[]", "{}", "7", "null", '[{"learning_rate": 1}]', "[1,2,3,4,5,6,7,8]"]):
        folder = tmp_path / str(number)  # a folder that this process has not read from
        folder.mkdir()
        (folder / file.name).write_text(damage)
        assert points_of(here, "cola", folder) == points
        assert json.loads((folder / file.name).read_bytes()) == list(points)
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / file.name).write_bytes(file.read_bytes())
    again = points_of(here, "cola", kept)
    assert again == points
    assert [list(point) for point in again] == [list(TWO)] * 8


def test_a_folder_that_cannot_be_written_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert points_of(tuning(RATE), "cola", tmp_path / "file" / "below") == points_of(tuning(RATE), "cola")


def test_the_key_of_a_point_does_not_depend_on_the_order_of_its_keys() -> None:
    point = points_of(tuning(TWO), "cola")[0]
    assert point_key(point) == point_key(dict(reversed(point.items())))
    assert len(point_key(point)) == 8


def test_the_example_of_the_documentation_holds() -> None:
    space = {"learning_rate": {"from": 1e-4, "to": 1e-2, "scale": "log"}}
    assert points_of(tuning(space, 2, sampler="random"), "cola") == (
        {"learning_rate": 0.00573},
        {"learning_rate": 0.00834},
    )

"""The same cell, of two studies that share a cache, trained at once: each is whole, and both are the same."""

from __future__ import annotations

from pathlib import Path

from helpers.small_cells import SERVER, Lab, outcome, train_in_child


def test_two_places_have_checkpoints_of_their_own(lab: Lab, tmp_path: Path) -> None:
    cell = lab.prepare(lab.cell("adalora", epochs=20, rank_schedule=None))
    outs = [tmp_path / name / "out" for name in ("one", "other")]
    options = {"every": 1, "attempts": 1}
    trainings = [SERVER.Process(target=train_in_child, args=(cell, out, lab.cache), kwargs=options) for out in outs]
    for training in trainings:
        training.start()
    for training in trainings:
        training.join(120)
    assert [training.exitcode for training in trainings] == [0, 0]
    first, second = map(outcome, outs)
    assert first == second
    assert first["record"]["status"] == "ok"
    assert len((outs[0] / "curve.jsonl").read_text().splitlines()) == 80
    assert not list((lab.cache / "checkpoints").iterdir())

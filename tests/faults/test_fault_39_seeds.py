"""Fault 39: equal seeds give equal adapters and heads from the first moment on, other seeds others."""

from __future__ import annotations

from pathlib import Path

from helpers.small_cells import Lab, record_of


def test_the_initial_adapter_follows_the_seed(lab: Lab, tmp_path: Path) -> None:
    hashes = {}
    for method in ("adalora", "qlora_adalora"):
        for seed in (0, 1):
            for run in ("a", "b"):
                cell = lab.prepare(
                    lab.cell(method, seed=seed, max_steps=1, rank_schedule=None, accumulation=1, rows=12)
                )
                out = tmp_path / f"{method}{seed}{run}"
                assert lab.train(cell, out, every=None) == 0, (tmp_path / "log.txt").read_text()
                hashes[method, seed, run] = record_of(out).initial_adapter_sha256
    for method in ("adalora", "qlora_adalora"):
        for seed in (0, 1):
            assert hashes[method, seed, "a"] == hashes[method, seed, "b"]
        assert hashes[method, 0, "a"] != hashes[method, 1, "a"]
    # Adapter and heads are those of the seed, however the base is stored.
    assert all(hashes["adalora", seed, "a"] == hashes["qlora_adalora", seed, "a"] for seed in (0, 1))

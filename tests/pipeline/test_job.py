"""What a job sets before the libraries are imported."""

from __future__ import annotations

import os

import pytest

from bench.pipeline.job import set_library_environment


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}),
        ({"PYTORCH_ALLOC_CONF": "backend:native"}, {"PYTORCH_ALLOC_CONF": "backend:native"}),
        ({"PYTORCH_CUDA_ALLOC_CONF": "backend:native"}, {"PYTORCH_CUDA_ALLOC_CONF": "backend:native"}),
    ],
)
def test_gpu_memory_grows_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, before: dict[str, str], after: dict[str, str]
) -> None:
    monkeypatch.setattr(os, "environ", dict(before))
    set_library_environment(2)
    assert {name: value for name, value in os.environ.items() if "ALLOC_CONF" in name} == after
    assert os.environ["OMP_NUM_THREADS"] == "2"

"""Bad input: exit code 2, one message that says where, and nothing trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.projects import Project, make_project

from bench.errors import BenchError
from bench.pipeline.snakemake_config import pipeline_from

ERROR = "error: "


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("tasks/cola.yaml", "recipe:", "recipy:", "unknown key 'recipy' (did you mean 'recipe'?)"),
        ("studies/tiny.yaml", "[lora]", "[lorra]", "unknown method 'lorra' (did you mean 'lora'?)"),
        ("studies/tiny.yaml", "rank: 2,", "rank: 0,", "rank"),
        ("studies/tiny.yaml", "seeds: [0]", "seeds: [0, 0]", "twice"),
    ],
)
def test_bad_yaml_is_refused_while_the_workflow_is_read(
    project: Project, file: str, old: str, new: str, message: str
) -> None:
    project.spoil(file, old, new)
    done = project.snakemake()
    assert done.code == 2, done.out
    assert message in done.out
    assert f"{file}:" in done.out
    assert done.out.count(ERROR) == 1
    assert "Traceback" not in done.out
    assert not (project.folder / "results").exists()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (("study=tinny",), "unknown study 'tinny' (did you mean 'tiny'?)"),
        (("miror=x",), "unknown key 'miror' (did you mean 'mirror'?)"),
        (("tasks=colla",), "(did you mean 'cola'?)"),
        (("mirror=/nowhere",), "no such folder"),
        ((f"results={__file__}",), "is a file, not a folder"),
        ((f"cache={__file__}",), "is a file, not a folder"),
        (("set=recipe.epoch=1",), "(did you mean 'epochs'?)"),
    ],
)
def test_bad_choice_is_refused(project: Project, config: tuple[str, ...], message: str) -> None:
    done = project.snakemake("-n", config=config)
    assert done.code == 2, done.out
    assert message in done.out
    assert "Traceback" not in done.out


@pytest.mark.parametrize("value", [{"recipe": {"epochs": 1}}, ["recipe.epochs=1"], 5])
def test_what_is_no_text_is_no_override(value: object) -> None:
    with pytest.raises(BenchError, match=r'--config set: expected dotted keys, such as set="recipe\.epochs=1'):
        pipeline_from({"set": value})


def test_values_that_yaml_reads_as_something_else() -> None:
    pipeline = pipeline_from({"set": None, "mirror": None, "tasks": None, "results": 2024, "cache": 7})
    options = pipeline.options
    assert (str(options.results), str(options.cache), options.overrides) == ("2024", "7", ())
    assert pipeline.cells == pipeline_from({"set": ""}).cells


def test_a_method_and_a_task_beside_those_of_a_study_with_grids() -> None:
    def cells(**config: str) -> list[str]:
        return [cell.id for cell in pipeline_from({"study": "plateau", **config}).cells]

    assert cells(methods="dora", seeds="0", budgets="most", tasks="cola") == ["cola/dora/most/seed-0"]
    assert cells(tasks="sst2", seeds="1", budgets="most", methods="lora,dora") == [
        "sst2/lora/most/seed-1",
        "sst2/dora/most/seed-1",
    ]
    both = cells(methods="lora,dora", seeds="0", budgets="most", tasks="cola")
    assert sorted(both) == ["cola/dora/most/seed-0", "cola/lora/most/seed-0"]
    with pytest.raises(BenchError, match="study 'plateau' has no 'dorra'"):
        cells(methods="dorra")
    with pytest.raises(BenchError, match=r"study 'plateau' has no 'mist' \(did you mean 'most'\?\)"):
        cells(methods="dora", budgets="mist")


@pytest.mark.long
def test_bad_data_is_refused_before_any_cell_starts(tmp_path: Path, mirror: Callable[..., object]) -> None:
    """Which data are bad: tests/inputs/test_sources.py."""
    project = make_project(tmp_path / "of-a-mirror", "mirror")
    good = {"sentence": ["good", "bad"] * 8, "label": [1, 0] * 8}
    bad = {"sentence": ["a", "b"], "label": [0, 7]}
    for config in ("cola", "sst2"):
        for split in ("train", "validation"):
            folder = mirror("nyu-mll/glue", config, split, bad if (config, split) == ("cola", "train") else good)
    done = project.snakemake(config=(f"mirror={folder}",))
    assert done.code == 2, done.out
    assert "row 1: column 'label' should hold 0 to 1" in done.out
    assert done.out.count(ERROR) == 1
    assert project.records == []
    assert not list((project.folder / "results/tiny/logs").glob("sst2/**/*.log")), "a cell was started"

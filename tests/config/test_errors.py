"""A fault in a file is reported with the file, the line, the key, what was expected, and the nearest valid name."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.cli.app import main
from bench.config.resolve import load_study
from bench.config.yaml_source import MAX_DEPTH, parse_yaml
from bench.errors import BenchError, SpecError

Spoil = Callable[[str, str, str], Path]


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("tasks/cola.yaml", "epochs: 25", "epohs: 25", r"cola\.yaml:11:\d+: unknown key 'recipe.epohs' .*'epochs'"),
        ("tasks/cola.yaml", "[mcc, accuracy]", "[mc]", r"cola\.yaml:10:11: metrics\.0: .*found 'mc' .*'mcc'"),
        # What is wrong with several keys together is told at the one to look at.
        ("tasks/cola.yaml", "[mcc, accuracy]", "[rouge1]", r"cola\.yaml:10:1: 'rouge1' is no metric of classification"),
        ("tasks/cola.yaml", "labels: [unacceptable, acceptable]\n", "", r"names at least two labels"),
        ("tasks/cola.yaml", "epochs: 25", "epochs: many", r"cola\.yaml:11:\d+: recipe\.epochs: .*number.*found 'many'"),
        ("tasks/cola.yaml", "5e-4", "-1", r"recipe\.learning_rate: input should be greater than 0, found -1"),
        ("tasks/cola.yaml", "5e-4", ".inf", r"recipe\.learning_rate: .*finite"),
        ("tasks/cola.yaml", "name: cola", "name: kola", r"expected 'cola' as the file is called, found 'kola'"),
        ("tasks/cola.yaml", "kind: cl", "kind: cl\nkind: cl", r"cola\.yaml:3:1: key 'kind' stands twice"),
        ("methods/adalora.yaml", "adapter: adalora", "adapter: lora", r"adapter must be adalora"),
        ("methods/adalora.yaml", "adapter: adalora", "adapter: adalora\nsparsity: 0.4", r"remove `sparsity`"),
        (
            "tasks/cola.yaml",
            "[unacceptable, acc",
            "['unacceptable ', acc",
            r"label 'unacceptable ' is empty or has a blank",
        ),
        ("tasks/cola.yaml", "[unacceptable, acc", "['', acc", r"label '' is empty or has a blank"),
        (
            "tasks/cola.yaml",
            "  rows:",
            "  evaluation: {train: validation}\n  rows:",
            r"cola\.yaml:7:16: data\.evaluation\.train: .*The key is our name of an evaluation split, the value",
        ),
        (
            "methods/lora.yaml",
            "adapter: lora",
            "adapter: lora\nrecipe:\n  epohs: 2",
            r"lora\.yaml:5:3: recipe\.epohs: unknown key 'epohs' \(did you mean 'epochs'\?\)",
        ),
        (
            "methods/lora.yaml",
            "adapter: lora",
            "adapter: lora\nrecipe:\n  max_length: 16",
            r"lora\.yaml:5:3: recipe\.max_length: rows are tokenized alike for every method",
        ),
        ("methods/lora.yaml", "adapter: lora", "adapter: lora\nrecipe: {max_target_length: 16}", r"tokenized alike"),
        ("backbones/minilm.yaml", "hub: a/b\n", "", r"give exactly one of hub, package, path, built"),
        ("studies/s.yaml", "[lora, adalora]", "[lora, adlora]", r"s\.yaml:5:\d+: unknown method 'adlora' .*'adalora'"),
        ("studies/s.yaml", "tasks: [cola,", "tasks: [colla,", r"s\.yaml:4:\d+: unknown task 'colla' .*'cola'"),
        ("studies/s.yaml", "minilm", "minlm", r"unknown backbone 'minlm' .*'minilm'"),
        ("studies/s.yaml", "[0, 1]", "[0, 0]", r"seeds names 0 twice"),
        ("studies/s.yaml", "initial_rank: 4", "initial_rank: 1", r"initial_rank 1 is smaller than rank 2"),
        ("studies/s.yaml", "{classification: minilm}", "{regression: minilm}", r"kind 'classification', which has no"),
    ],
)
def test_a_fault_is_named_with_its_place(spoil: Spoil, file: str, old: str, new: str, message: str) -> None:
    folder = spoil(file, old, new)
    with pytest.raises(SpecError, match=message):
        load_study("s", (), folder)


@pytest.mark.parametrize(
    "name", ["Cola", "co-la", "co.la", "co la", "c/la", "2cola", "_cola", "köla", "cola\n", "x" * 65]
)
def test_a_name_that_is_no_name_is_refused_for_a_task_a_method_and_a_budget(workflow: Path, name: str) -> None:
    import json

    for override in (f"budgets={json.dumps({name: {'rank': 2}})}", f"tasks={json.dumps([name])}"):
        with pytest.raises(
            SpecError, match="expected small letters, digits and '_' that begin with a letter, of at most"
        ):
            load_study("s", [override], workflow)


def test_all_faults_are_reported_at_once(spoil: Spoil) -> None:
    spoil("tasks/cola.yaml", "epochs: 25", "epohs: 25")
    folder = spoil("methods/lora.yaml", "adapter:", "adaptr:")
    with pytest.raises(SpecError) as caught:
        load_study("s", (), folder)
    assert len(caught.value.problems) == 3  # two unknown keys and the missing adapter


def test_check_reports_the_faults_of_every_file_at_once(spoil: Spoil, capsys: pytest.CaptureFixture) -> None:
    spoil("tasks/cola.yaml", "epochs: 25", "epohs: 25")
    spoil("methods/lora.yaml", "adapter:", "adaptr:")
    folder = spoil("studies/s.yaml", "small: {rank: 2, initial_rank: 4}", "small: {rank: 2, initial_rank: 1}")
    spoil("studies/s.yaml", "[lora, adalora]", "[lora, adlora]")
    study = (folder / "studies/s.yaml").read_text()
    other = study.replace("name: s\n", "name: t\n").replace("initial_rank: 1", "initial_rank: 4")
    other = other.replace("adlora", "adalora").replace("tasks: [cola, sst2]", "tasks: [cola, colla]")
    other += "recipe: {epochs: '1'}\noverrides: {sst2: {recipe: {alpha: yes}}, cola: {labels: [a]}}\n"
    (folder / "studies/t.yaml").write_text(other)
    (folder / "methods/dora.yml").write_text("name: dora\n")
    (folder / "tasks/._cola.yaml").write_bytes(b"\0\xff left by a file system")
    assert main(["check", "--workflow", str(folder)]) == 2
    told = capsys.readouterr().err
    for message in (
        "cola.yaml:11:31: unknown key 'recipe.epohs' (did you mean 'epochs'?)",
        "lora.yaml:3:1: unknown key 'adaptr' (did you mean 'adapter'?)",
        "lora.yaml:1:1: key 'adapter' is missing",
        "s.yaml:7:3: budgets.small: initial_rank 1 is smaller than rank 2",
        "s.yaml:5:17: unknown method 'adlora' (did you mean 'adalora'?)",
        "t.yaml:4:15: unknown task 'colla' (did you mean 'cola'?)",
        "t.yaml:11:29: recipe.alpha: input should be a valid number, found True",
        "dora.yml: is not read: call it dora.yaml",
    ):
        assert told.count(message) == 1, told
    assert "unknown task 'cola'" not in told
    assert "unknown method 'lora'" not in told
    assert "._cola" not in told


@pytest.mark.parametrize(
    "override", ["recipe.epohs=1", "recipe.epochs=x", "tasks=[colla]", "nokey", "=1", "seeds=[1,1]"]
)
def test_a_bad_override_blames_the_command_line(workflow: Path, override: str) -> None:
    with pytest.raises(BenchError, match=r"command line|expected key=value"):
        load_study("s", [override], workflow)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["cells_per_gpu=0"], r"command line: cells_per_gpu: .*greater than .*0, found 0"),
        (["cells_per_gpu=auot"], r"command line: cells_per_gpu: .*'auto', found 'auot' \(did you mean 'auto'\?\)"),
        (["cells_per_gpu=1.5"], r"command line: cells_per_gpu: .*integer, found 1.5"),
        (
            ["cells_per_gpu=auto", "recipe.processes=2"],
            r"per_gpu is auto, but a cell of 'cola' takes 2 processes",
        ),
        (["cells_per_gpu=auto", "resources.gpus=0"], r"cells_per_gpu is auto, but a cell of 'cola' takes no GPU"),
        (["cells_per_gpu=auto", "gpu_memory=40TB"], r"gpu_memory: expected a size such as 40GiB .*found '40TB'"),
        (["cells_per_gpu=2", "recipe.processes=2"], r"cells_per_gpu is 2, but a cell of 'cola' takes 2 processes"),
        (["cells_per_gpu=2", "resources.gpus=0"], r"cells_per_gpu is 2, but a cell of 'cola' takes no GPU"),
        (["cells_per_gpu=2", "overrides.sst2.resources.gpus=0"], r"a cell of 'sst2' takes no GPU"),
    ],
)
def test_cells_that_can_share_no_gpu_are_refused(
    workflow: Path, capsys: pytest.CaptureFixture, overrides: list[str], message: str
) -> None:
    with pytest.raises(BenchError, match=message):
        load_study("s", overrides, workflow)
    command = ["plan", "s", "--workflow", str(workflow)]
    assert main([*command, *(word for override in overrides for word in ("--set", override))]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_sharing_a_gpu_is_no_part_of_a_cell(workflow: Path) -> None:
    several = ([], ["cells_per_gpu=3"], ["cells_per_gpu=auto", "gpu_memory=40GiB"])
    alone, *shared = ([cell.spec_hash for cell in load_study("s", given, workflow).cells] for given in several)
    assert shared == [alone, alone]
    assert load_study("s", ["cells_per_gpu=1", "resources.gpus=0"], workflow).cells


def test_an_unknown_study_names_the_nearest(workflow: Path) -> None:
    with pytest.raises(BenchError, match=r"unknown study 'ss' \(did you mean 's'\?\)"):
        load_study("ss", (), workflow)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("- a\n- b\n", "expected a mapping"),
        ("a: [1, 2", r":1:\d+: is no valid YAML|:2:1: is no valid YAML"),
        ("a: &x 1\nb: *x\n", "aliases"),
        ("a: !!python/object/apply:os.system [ls]", "is no valid YAML"),
        ("a: " + "[" * (MAX_DEPTH + 2), "nested deeper"),
        ("a: 0x" + "f" * 9000, ":1:4: is no valid YAML: a whole number of more than 64 bits"),
        ("a: " + "9" * 9000, "is no valid YAML"),
    ],
)
def test_malicious_or_broken_yaml_is_refused(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        parse_yaml(text, Path("x.yaml"))


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda b: b.decode("latin-1")))
def test_any_text_gives_a_mapping_or_a_spec_error(text: str) -> None:
    with contextlib.suppress(SpecError):
        data, _ = parse_yaml(text, Path("x.yaml"))
        assert isinstance(data, dict)


def test_a_key_of_a_recipe_is_checked_in_a_method_that_no_study_names(spoil: Spoil) -> None:
    folder = spoil("methods/lora.yaml", "adapter: lora", "adapter: lora\nrecipe: {epohs: 2}")
    spoil("studies/s.yaml", "[lora, adalora]", "[adalora]")
    with pytest.raises(SpecError, match="did you mean 'epochs'"):
        load_study("s", (), folder)


def test_a_list_that_no_grid_takes_over_is_refused(spoil: Spoil) -> None:
    folder = spoil("studies/s.yaml", "seeds:", "grids: [{methods: [lora]}, {methods: [adalora], seeds: [0]}]\nseeds:")
    with pytest.raises(
        SpecError, match=r"^command line: methods: has no effect, since each grid names methods of its own"
    ):
        load_study("s", ["methods=[lora]"], folder)
    assert len(load_study("s", ["seeds=[5]"], folder).cells) == 2 * 2 + 2 * 2
    assert len(load_study("s", ["methods=[lora]", "grids=[]"], folder).cells) == 2 * 2 * 2

"""A value of another type is refused, and the message writes the right one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.config.resolve import load_study
from bench.config.yaml_source import parse_yaml
from bench.errors import SpecError

Spoil = Callable[[str, str, str], Path]


TRUTH = "YAML reads yes, no, on, off, true and false as truth values"
QUOTES = "a number stands without quotes, write"


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("tasks/cola.yaml", "5e-4", "'5e-4'", f"recipe.learning_rate: .* found '5e-4': {QUOTES} 5e-4"),
        ("tasks/cola.yaml", "5e-4", "true", f"recipe.learning_rate: .* found True: {TRUTH}; write a number"),
        ("tasks/cola.yaml", "5e-4", "'0,0005'", "found '0,0005': decimals follow a point, write 0.0005"),
        (
            "tasks/cola.yaml",
            "5e-4",
            "\u22121e-3",
            "found '\u22121e-3': its minus is not the one of the keyboard, write -1e-3",
        ),
        ("tasks/cola.yaml", "5e-4", ".nan", "recipe.learning_rate: input should be a finite number, found nan"),
        (
            "tasks/cola.yaml",
            "epochs: 25",
            "epochs: -.inf",
            "recipe.epochs: input should be a finite number, found -inf",
        ),
        ("tasks/cola.yaml", "epochs: 25", "epochs: -3", "recipe.epochs: input should be greater than 0, found -3"),
        ("tasks/cola.yaml", "epochs: 25", "max_steps: 25.0", "found 25.0: write 25, without a point or an exponent"),
        ("tasks/cola.yaml", "epochs: 25", "max_steps: 1e3", "found 1000.0: write 1000, without a point or an exponent"),
        (
            "tasks/cola.yaml",
            "epochs: 25",
            "max_steps: 2.5",
            "recipe.max_steps: input should be a valid integer, found 2.5",
        ),
        ("tasks/cola.yaml", "epochs: 25", "max_steps: '25'", f"found '25': {QUOTES} 25"),
        ("tasks/cola.yaml", "epochs: 25", "max_steps: 025", "11:42: is no valid YAML: 025, which YAML reads as 21"),
        ("tasks/cola.yaml", "epochs: 25", "max_steps: 1:30", "1:30, which YAML reads as 90"),
        ("tasks/cola.yaml", "epochs: 25", "adam_betas: [0.9, '0.99']", f"recipe.adam_betas.1: .* {QUOTES} 0.99"),
        (
            "tasks/cola.yaml",
            "epochs: 25",
            "score_epochs: 1",
            "recipe.score_epochs: .*boolean, found 1: write true or false",
        ),
        ("tasks/cola.yaml", "epochs: 25", "score_epochs: 'yes'", "found 'yes': write true or false, without quotes"),
        ("tasks/cola.yaml", "train: 8551", "train: 8551.0", "data.rows.train: .* found 8551.0: write 8551"),
        (
            "tasks/cola.yaml",
            "[unacceptable, acc",
            "[no, acc",
            f"labels.0: .* found False: {TRUTH}; write a text in quotes",
        ),
        (
            "tasks/cola.yaml",
            "[unacceptable, acc",
            "[0, acc",
            "labels.0: .* found 0: YAML reads it as a number; write a text in",
        ),
        ("tasks/cola.yaml", "metrics:", "version: true\nmetrics:", f"version: .* found True: {TRUTH}"),
        ("tasks/cola.yaml", "metrics:", "resources: {gpus: true}\nmetrics:", "resources.gpus: .* found True"),
        ("tasks/cola.yaml", "metrics:", "resources: {mem_mb: 1.5}\nmetrics:", "resources.mem_mb: .* found 1.5"),
        ("methods/lora.yaml", "label:", "compact: 'false'\nlabel:", "compact: .* found 'false': write true or false"),
        ("methods/lora.yaml", "label:", "recipe: {alpha: '8'}\nlabel:", f"lora.yaml:2:10: recipe.alpha: .* {QUOTES} 8"),
        ("methods/lora.yaml", "label:", "recipe: {alpha: true}\nlabel:", "recipe.alpha: .* found True"),
        (
            "methods/lora.yaml",
            "adapter: lora",
            "adapter: peft\npeft: {config: LoraConfig, fields: {x: {y: [.nan]}}}",
            "lora.yaml:4:37: peft.fields.x: y: 0: expected a finite number, found nan",
        ),
        ("backbones/minilm.yaml", "hub:", "parameters: 1e6\nhub:", "parameters: .* found 1000000.0: write 1000000"),
        ("backbones/minilm.yaml", "hub:", "config: {a: {1: 2}}\nhub:", "config.a: expected text as key, found 1"),
        ("backbones/minilm.yaml", "hub:", "untie_head: 0\nhub:", "untie_head: .* found 0: write true or false"),
        ("studies/s.yaml", "rank: 2", "rank: true", f"s.yaml:7:11: budgets.small.rank: .* found True: {TRUTH}"),
        ("studies/s.yaml", "rank: 2", "rank: '2'", f"budgets.small.rank: .* {QUOTES} 2"),
        ("studies/s.yaml", "initial_rank: 4", "initial_rank: 4.0", "initial_rank: .* found 4.0: write 4"),
        ("studies/s.yaml", "[0, 1]", "'3'", "seeds: input should be a valid list, found '3': write a list, .3."),
        ("studies/s.yaml", "[0, 1]", "['3']", f"seeds.0: .* {QUOTES} 3"),
        ("studies/s.yaml", "[0, 1]", "[false]", f"seeds.0: .* found False: {TRUTH}"),
        ("studies/s.yaml", "[0, 1]", "[-1]", "seeds.0: input should be greater than or equal to 0, found -1"),
        ("studies/s.yaml", "seeds:", "threads: true\nseeds:", "threads: .* found True"),
        ("studies/s.yaml", "seeds:", "tolerance: 5%\nseeds:", "tolerance: input should be a valid number, found '5%'"),
        ("studies/s.yaml", "seeds:", "recipe: {epochs: '1'}\nseeds:", f"s.yaml:9:10: recipe.epochs: .* {QUOTES} 1"),
        ("studies/s.yaml", "seeds:", "overrides: {cola: {recipe: {epochs: on}}}\nseeds:", f"recipe.epochs: .*{TRUTH}"),
        (
            "studies/s.yaml",
            "  small:",
            "  Small-1:",
            r"budgets.Small-1: expected small letters, .* \(did you mean 'small_1'\?\)",
        ),
        ("studies/s.yaml", "name: s", "name: 7", "name: .* found 7: YAML reads it as a number; write a text in quotes"),
    ],
)
def test_a_value_of_another_type_is_refused_and_the_right_one_written(
    spoil: Spoil, file: str, old: str, new: str, message: str
) -> None:
    folder = spoil(file, old, new)
    with pytest.raises(SpecError, match=message):
        load_study("s", (), folder)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("recipe.learning_rate='1e-3'", f"command line: recipe.learning_rate: .* {QUOTES} 1e-3"),
        ("recipe.epochs=true", "command line: recipe.epochs: .* found True"),
        ("recipe.epochs=.inf", "command line: recipe.epochs: .*finite"),
        ("seeds=3", "command line: seeds: .* write a list, .3."),
        ("seeds=[010]", "command line.*: 010, which YAML reads as 8"),
        ("limits=[1]", "command line: limits: expected a mapping of keys to values, found .1."),
        ("overrides.cola=3", "command line: overrides.cola: expected a mapping of keys to values, found 3"),
        ("threads=1.0", "command line: threads: .* write 1,"),
        ("budgets.small.rank=yes", "command line: budgets.small.rank: .* found True"),
        ("limits.train_rows=1e3", "command line: limits.train_rows: .* write 1000,"),
        ("overrides.cola.recipe.max_steps='7'", f"command line: recipe.max_steps: .* {QUOTES} 7"),
    ],
)
def test_an_override_of_another_type(workflow: Path, override: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        load_study("s", [override], workflow)


def test_numbers_as_people_write_them(spoil: Spoil) -> None:
    for text, value in (("1e-3", 1e-3), ("1E-3", 1e-3), (".5e-3", 5e-4), ("1.e-3", 1e-3), ("1", 1.0), ("+2e0", 2.0)):
        assert parse_yaml(f"a: {text}", Path("x"))[0]["a"] == value
    folder = spoil("tasks/cola.yaml", "epochs: 25", "epochs: 2, max_steps: 1_000, adam_betas: [0.9, 0.98]")
    recipe = load_study("s", (), folder).cells[0].recipe
    assert (recipe.epochs, recipe.max_steps, recipe.adam_betas) == (2.0, 1000, (0.9, 0.98))
    assert parse_yaml("a: 2026-01-31", Path("x"))[0]["a"] == "2026-01-31"

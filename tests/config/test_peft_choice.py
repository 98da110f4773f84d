"""A method that names a PEFT config is compared with PEFT's own class; reading a study alone does not import PEFT."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.cli.app import main
from bench.config.catalog import load_catalog
from bench.config.peft_fields import check_peft_methods, config_class, config_names
from bench.config.resolve import load_study
from bench.errors import SpecError

ROOT = Path(__file__).resolve().parents[2]
LOHA = "name: loha\nlabel: LoHa\nadapter: peft\npeft:\n  config: LoHaConfig\n  fields: {module_dropout: 0.1}\n"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("LoHaConfig", "LoHaConfg", r"loha\.yaml:5:3: peft\.config: 'LoHaConfg' is no adapter .*'LoHaConfig'"),
        ("LoHaConfig", "AdaLoraConfig", r"'AdaLoraConfig' is no adapter of PEFT"),
        ("LoHaConfig", "PrefixTuningConfig", r"'PrefixTuningConfig' is no adapter of PEFT"),
        ("module_dropout", "module_droput", r"loha\.yaml:6:12: .*no field 'module_droput' .*'module_dropout'"),
        ("module_dropout: 0.1", "r: 4", r"loha\.yaml:6:12: .*'r' follows from budget"),
        ("module_dropout: 0.1", "init_weights: 3", r"init_weights: expected bool, found 3"),
        ("module_dropout: 0.1", "module_dropout: a", r"module_dropout: expected float, found 'a'"),
        ("adapter: peft\npeft:\n  config: LoHaConfig\n  fields: {module_dropout: 0.1}", "adapter: peft", "go together"),
        ("adapter: peft", "adapter: lora", "go together"),
        ("adapter: peft", "adapter: peft\nunit: parameters", "no ranks to move, count or regularize"),
        ("adapter: peft", "adapter: peft\nmatrices: [quary]", r"matrices\.0: .*'quary' \(did you mean 'query'"),
    ],
)
def test_a_fault_is_named_with_its_place(workflow: Path, old: str, new: str, message: str) -> None:
    assert old in LOHA
    (workflow / "methods" / "loha.yaml").write_text(LOHA.replace(old, new))
    with pytest.raises(SpecError, match=message):
        check_peft_methods(load_catalog(workflow), ["loha"])


def test_a_role_that_the_backbone_lacks_is_reported(workflow: Path) -> None:
    (workflow / "methods" / "lora.yaml").write_text("name: lora\nlabel: LoRA\nadapter: lora\nmatrices: [value]\n")
    with pytest.raises(SpecError, match=r"s\.yaml:5:1: method 'lora': no matrix of 'minilm' is a value"):
        load_study("s", (), workflow)


def test_reading_a_study_imports_nothing_heavy(workflow: Path) -> None:
    (workflow / "methods" / "loha.yaml").write_text(LOHA)
    code = (
        "import sys; from pathlib import Path; from bench.config.catalog import load_catalog;"
        "from bench.config.peft_fields import check_peft_methods;"
        "from bench.pipeline.snakemake_config import pipeline_from;"
        f"catalog = load_catalog(Path({str(workflow)!r})); assert 'loha' in catalog.methods;"
        "check_peft_methods(catalog, ['lora', 'adalora']);"  # none of them is an adapter of PEFT
        f"assert pipeline_from({{'study': 's', 'workflow': {str(workflow)!r}, 'methods': 'loha'}}).cells;"
        "print([m for m in ('torch', 'peft', 'transformers') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_check_reports_all_faults_of_methods_and_studies_at_once(workflow: Path, capsys: pytest.CaptureFixture) -> None:
    (workflow / "methods" / "loha.yaml").write_text(LOHA.replace("module_dropout: 0.1", "module_droput: 0.1, r: 4"))
    (workflow / "studies" / "s.yaml").write_text((workflow / "studies" / "s.yaml").read_text().replace("adalora", "x"))
    assert main(["check", "--workflow", str(workflow)]) == 2
    errors = capsys.readouterr().err
    assert "loha.yaml:6:12: peft.fields: LoHaConfig has no field 'module_droput'" in errors
    assert "loha.yaml:6:32: peft.fields: 'r' follows from budget" in errors
    assert "unknown method 'x'" in errors


def test_a_plan_checks_the_methods_of_its_study(workflow: Path, capsys: pytest.CaptureFixture) -> None:
    (workflow / "methods" / "loha.yaml").write_text(LOHA.replace("0.1", "a"))
    words = ["plan", "s", "--workflow", str(workflow), "--set", "methods=[loha]"]
    assert main(words) == 2
    assert "module_dropout: expected float, found 'a'" in capsys.readouterr().err


def test_every_config_that_a_method_can_name_is_one_that_peft_exports() -> None:
    import peft

    for name in config_names():
        assert config_class(name) is getattr(peft, name)


@pytest.mark.long
def test_only_the_main_process_of_snakemake_checks(workflow: Path) -> None:
    (workflow / "methods" / "loha.yaml").write_text(LOHA.replace("0.1", "a"))
    words = ["--config", "study=s", f"workflow={workflow}", "set=methods=[loha]"]

    def dry_run(mode: str) -> subprocess.CompletedProcess[str]:
        command = ["-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--dry-run", "--cores", "1"]
        return subprocess.run(
            [sys.executable, "-X", "importtime", *command, "--mode", mode, *words],
            cwd=workflow,
            capture_output=True,
            text=True,
        )

    main_process, job = dry_run("default"), dry_run("subprocess")
    assert main_process.returncode == 2
    assert "loha.yaml:6:12: peft.fields: module_dropout: expected float, found 'a'" in main_process.stderr
    assert job.returncode == 0
    imported = {line.split("|")[-1].strip() for line in job.stderr.splitlines() if line.startswith("import time:")}
    assert "bench.pipeline.study" in imported
    assert not imported & {"peft", "torch", "transformers"}

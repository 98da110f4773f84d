"""The files that the package carries beside its code. The wheel has them inside bench/, a checkout beside bench/."""

from __future__ import annotations

from pathlib import Path

_CODE = Path(__file__).resolve().parent  # the folder bench/
ROOT = _CODE if (_CODE / "workflow").is_dir() else _CODE.parent

# A Snakefile of one's own includes this one (bench/template/Snakefile): neither name may change.
SNAKEFILE = str(ROOT / "Snakefile")

WORKFLOW = ROOT / "workflow"  # YAML files, rules, captions, schemas
SLURM_PROFILE = ROOT / "slurm"
DEFAULT_PROFILE = ROOT / "profiles" / "default"
TEMPLATE = _CODE / "template"  # what `bench init` writes

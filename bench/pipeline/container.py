"""The image in which the jobs of a run work: `snakemake --sdm apptainer --config container=IMAGE`.

Snakemake starts each job's command in the image. It does not say which folders the image needs, nor whose code it runs:
that is told to Apptainer by its own variables. The code is that of the checkout, where there is one, so that the
pipeline and its jobs never differ; the packages are the image's.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import bench
from bench.errors import BenchError
from bench.nvml import CONTROL_DEVICE
from bench.pipeline.study import Pipeline

KEY = "container"
CHECKOUT = Path(bench.__file__).resolve().parents[1]
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://\S+")
_SEPARATORS = (",", ":")  # between and inside the folders of the variable that binds them


def container_image(config: Mapping[str, Any], deployment: Iterable[str]) -> str | None:
    """The image that `config` names: a file, or an address such as docker://NAME; None if it names none.

    deployment: the names of the methods of --sdm. Raises BenchError if Snakemake would not use the image, or if there
    is no such file.
    """
    named = config.get(KEY)
    if named is None:
        return None
    image = str(named)
    if "apptainer" not in deployment:
        raise BenchError(f"--config {KEY}={image}: Snakemake uses an image with --sdm apptainer alone; add that option")
    if _ADDRESS.fullmatch(image):
        return image
    file = Path(os.path.expanduser(image))
    if not file.exists() or re.search(r"\s", str(file)):
        raise BenchError(
            f"--config {KEY}={image}: no such file; expected an image of container/rankbench.def, whose path has no "
            "blanks, or an address such as docker://NAME"
        )
    return str(file.resolve())  # jobs may start in another folder


def container_variables(pipeline: Pipeline, variables: Mapping[str, str]) -> dict[str, str]:
    """What Apptainer, or Singularity where that is installed alone, reads from the environment of a job.

    variables: the environment as it is; what a person has set in it stays. Makes the folders that are to be bound.
    Raises BenchError if the name of one cannot be passed on.
    """
    tool = "APPTAINER" if shutil.which("apptainer") or not shutil.which("singularity") else "SINGULARITY"
    hub = Path(variables.get("HF_HOME") or os.path.expanduser("~/.cache/huggingface"))
    options = pipeline.options
    folders = [
        options.results,
        options.cache_folder,
        hub,
        *(folder for folder in (options.workflow, options.mirror) if folder),
    ]
    own = (CHECKOUT / "pyproject.toml").is_file()  # else the image's own package is as good as this one
    bound = [variables[f"{tool}_BIND"]] if variables.get(f"{tool}_BIND") else []
    bound += _outside([*folders, *([CHECKOUT] if own else [])], Path.cwd())
    found = {f"{tool}_BIND": ",".join(bound), "HF_HOME": str(hub)}  # the home of a job is the working folder
    if own:
        found[f"{tool}ENV_PYTHONPATH"] = str(CHECKOUT)
    if CONTROL_DEVICE.exists():
        found[f"{tool}_NV"] = "1"
    return found


def _outside(folders: Iterable[Path], working: Path) -> Iterator[str]:
    """Where the folders lie that are not below the working folder, which every job has; each place once."""
    places: dict[str, None] = {}
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        for place in (Path(os.path.abspath(folder)), folder.resolve()):  # the name, and what a link leads to
            if not place.is_relative_to(working):
                places[str(place)] = None
    for name in places:
        if any(separator in name for separator in _SEPARATORS):
            raise BenchError(f"{name}: a comma or a colon cannot be passed on to a container; name another folder")
        yield name

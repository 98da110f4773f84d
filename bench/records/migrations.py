"""Bring a record of an older schema up to date, one version at a time, in memory: its file stays as it was written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.config.cell import identity_of, spec_hash_of

JSON = dict[str, Any]


def _version_1_to_2(record: JSON) -> JSON:
    """American spelling, and the terms that PyTorch and PEFT use.

    The names are part of the spec that identifies a cell, so the cell's hashes are computed anew. Otherwise every
    migrated record would count as one of another spec, and its cell would be trained again for the sake of a spelling.
    """
    method = _renamed(
        record["spec"].get("method"), regulariser="regularizer", double_quantisation="double_quantization"
    )
    spec = {**record["spec"], "method": method} if method else record["spec"]
    training = _renamed(record["training"], utilisation="utilization", discarded="discarded_checkpoints")
    if training and training.get("utilization"):  # None where the operations could not be counted
        training["utilization"] = _renamed(
            training["utilization"],
            operations_per_step="flops_per_step",
            matrix_rate="matmul_flops_per_second",
            share="fraction",
        )
    parameters = _renamed(record["parameters"])
    if parameters:
        parameters["budget"] = _renamed(parameters["budget"], kept="used")
    environment = _renamed(record["environment"], products_in="matmul_precision")
    if environment.get("slurm"):  # None outside Slurm, missing in records of evaluations
        environment["slurm"] = _renamed(
            environment["slurm"], seconds_asked="seconds_requested", memory_asked_mib="memory_requested_mib"
        )
    sizes = _renamed(record["bytes"])  # a copy: the caller's data stays as it was read
    if sizes and sizes["base"]:
        sizes["base"] = _renamed(sizes["base"], quantisation="quantization")
    return {
        **record,
        "cell": _identified(record["cell"], spec, record["data"]),
        "spec": spec,
        "training": training,
        "parameters": parameters,
        "ranks": {name: _renamed(site, place="index") for name, site in record["ranks"].items()},
        "bytes": sizes,
        "environment": environment,
    }


# MIGRATIONS[n] turns the data of a record of schema n into that of schema n + 1, and leaves `schema_version` alone.
MIGRATIONS: dict[int, Callable[[JSON], JSON]] = {1: _version_1_to_2}


def current_curve_line(line: JSON) -> JSON:
    """One line of a curve.jsonl of any age, with the keys of today (its file carries no version of its own)."""
    renamed: JSON = _renamed(line, regulariser="regularizer")
    return renamed


def _renamed(part: Any, **new_names: str) -> Any:
    """A copy of the object `part` with the keys {old: new} renamed; anything else (None) is returned as it is."""
    return {new_names.get(key, key): value for key, value in part.items()} if isinstance(part, dict) else part


def _identified(cell: JSON, spec: JSON, data: JSON) -> JSON:
    """The cell's names with the hashes of its renamed spec; as they are where the spec is not a whole one."""
    # Records made by hand, as in tests, may have a spec that is no cell's.
    if "method" not in spec or "fingerprint" not in data:
        return cell
    spec_hash = spec_hash_of(spec)
    return {**cell, "spec_hash": spec_hash, "hash": identity_of(spec_hash, str(data["fingerprint"]))}

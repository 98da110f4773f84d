"""NVML's Python module over a machine that a JSON file describes: helpers/gpus.py writes the file and says where.

It has the functions that bench/nvml.py calls; tests/test_nvml.py holds their signatures against the real module's.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

NVML_ERROR_NOT_SUPPORTED, NVML_ERROR_NO_PERMISSION, NVML_ERROR_NOT_FOUND = 3, 4, 6
NVML_ERROR_DRIVER_NOT_LOADED, NVML_ERROR_LIBRARY_NOT_FOUND = 9, 12
NVML_DEVICE_MIG_ENABLE = 1
_open = [0]


class NVMLError(Exception):
    def __init__(self, value: int) -> None:
        super().__init__(f"NVML error {value}")
        self.value = value


class NVMLError_NoPermission(NVMLError): ...  # named as in the real module


class NVMLError_NotSupported(NVMLError): ...


class NVMLError_DriverNotLoaded(NVMLError): ...


class NVMLError_LibraryNotFound(NVMLError): ...


KINDS = {
    NVML_ERROR_NOT_SUPPORTED: NVMLError_NotSupported,
    NVML_ERROR_NO_PERMISSION: NVMLError_NoPermission,
    NVML_ERROR_DRIVER_NOT_LOADED: NVMLError_DriverNotLoaded,
    NVML_ERROR_LIBRARY_NOT_FOUND: NVMLError_LibraryNotFound,
}


def _machine() -> dict[str, Any]:
    machine: dict[str, Any] = json.loads(Path(os.environ["STAND_IN_GPUS"]).read_text())
    return machine


def _fail(value: int) -> None:
    raise KINDS.get(value, NVMLError)(value)


def _asked() -> dict[str, Any]:
    if not _open[0]:
        raise NVMLError(1)  # not initialized
    return _machine()


def nvmlInit() -> None:
    if _machine()["error"]:
        _fail(_machine()["error"])
    _open[0] += 1


def nvmlShutdown() -> None:
    _open[0] -= 1


def nvmlSystemGetDriverVersion() -> str:
    return str(_asked()["driver"])


def nvmlDeviceGetCount() -> int:
    return len(_asked()["cards"])


def nvmlDeviceGetHandleByIndex(index: int) -> dict[str, Any]:
    card: dict[str, Any] = _asked()["cards"][index]
    if card["forbidden"]:
        _fail(NVML_ERROR_NO_PERMISSION)
    return card


def nvmlDeviceGetHandleByUUID(uuid: str) -> dict[str, Any]:
    for card in _asked()["cards"]:
        for handle in (card, *card["instances"]):
            if handle["uuid"] == uuid:
                return handle
    raise NVMLError(NVML_ERROR_NOT_FOUND)


def nvmlDeviceGetUUID(handle: dict[str, Any]) -> str:
    return str(handle["uuid"])


def nvmlDeviceGetName(handle: dict[str, Any]) -> str:
    return str(handle["model"])


def nvmlDeviceGetMemoryInfo(handle: dict[str, Any], version: Any = None) -> SimpleNamespace:  # noqa: ARG001
    if handle["memory"] is None:  # it shares the host's
        _fail(NVML_ERROR_NOT_SUPPORTED)
    return SimpleNamespace(total=handle["memory"])


def nvmlDeviceGetCudaComputeCapability(handle: dict[str, Any]) -> tuple[int, int]:
    major, minor = handle["capability"]
    return major, minor


def nvmlDeviceGetMigMode(device: dict[str, Any]) -> list[int]:
    if not device["instances"]:
        _fail(NVML_ERROR_NOT_SUPPORTED)
    return [NVML_DEVICE_MIG_ENABLE, NVML_DEVICE_MIG_ENABLE]


def nvmlDeviceGetMaxMigDeviceCount(device: dict[str, Any]) -> int:  # noqa: ARG001
    return 7


def nvmlDeviceGetMigDeviceHandleByIndex(device: dict[str, Any], index: int) -> dict[str, Any]:
    if index >= len(device["instances"]):
        _fail(NVML_ERROR_NOT_FOUND)
    instance: dict[str, Any] = device["instances"][index]
    return instance


def nvmlDeviceGetComputeRunningProcesses(handle: dict[str, Any]) -> list[SimpleNamespace]:
    return [SimpleNamespace(pid=number, usedGpuMemory=2**30) for number in handle["processes"]]


def nvmlDeviceGetTotalEnergyConsumption(handle: dict[str, Any]) -> int:
    if handle.get("energy") is None:  # an older card, or a part of one
        _fail(NVML_ERROR_NOT_SUPPORTED)
    return int(handle["energy"])

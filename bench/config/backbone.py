"""Backbone: a pretrained model and the matrices that are adapted. One YAML file each in workflow/backbones/."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from bench.config.task import HubId, Kind, Name
from bench.config.types import Frozen


class PackageSource(Frozen):
    """Weights that travel inside an installed Python package."""

    module: str = Field(description="the package's import name")
    folder: str = Field(description="the model's folder inside the package")
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] = Field(description="of model.safetensors")


class Backbone(Frozen):
    """Exactly one of `hub`, `package`, `path`, `built` says where the weights come from.

    `matrices` are suffixes of module names, in the order of tables and figures; `head` are the modules that are trained
    in full and never quantized.
    """

    name: Name
    description: str = ""
    hub: HubId | None = None
    revision: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")] | None = None
    package: PackageSource | None = None
    path: str | None = Field(None, description="a local folder in the hub's layout")
    built: str | None = Field(None, description="a recipe of bench/prepare/built/: trained once by prepare")
    kinds: Annotated[list[Kind], Field(min_length=1)]
    matrices: Annotated[list[str], Field(min_length=1)]
    head: list[str] = Field([], description="modules trained in full, such as pooler and classifier")
    config: dict[str, Any] = Field({}, description="the released config: counts without a download")
    parameters: int | None = Field(None, description="parameters of the released checkpoint, checked when loaded")
    untie_head: bool = Field(False, description="the checkpoint's lm_head is not tied although the config says so (T5)")
    attention: Literal["sdpa", "eager"] = "sdpa"

    @model_validator(mode="after")
    def _one_source(self) -> Backbone:
        sources = [name for name in ("hub", "package", "path", "built") if getattr(self, name) is not None]
        if len(sources) != 1:
            raise ValueError(f"give exactly one of hub, package, path, built; got {sources or 'none'}")
        if len(set(self.matrices)) != len(self.matrices):
            raise ValueError(f"matrices repeat: {self.matrices}")
        return self

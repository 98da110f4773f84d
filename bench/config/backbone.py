"""Backbone: a pretrained model and the matrices that are adapted. One YAML file per backbone in workflow/backbones/."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from bench.config.kinds import KINDS, Input
from bench.config.types import CommitHash, Frozen, HubId, Kind, License, Name, Plain


class PackageSource(Frozen):
    """Weights that are installed as part of a Python package."""

    module: str = Field(description="Import name of the package.")
    folder: str = Field(description="Folder of the model inside the package.")
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] = Field(
        description="SHA-256 of model.safetensors, or of the file `gguf`, 64 hexadecimal digits."
    )
    gguf: str | None = Field(
        None,
        description="Name of a GGUF file in the folder, which is unpacked to float32 when it is prepared. The default "
        "null is for model.safetensors.",
    )
    install: str | None = Field(
        None, description="Command that installs the package. The default null is for one that is always installed."
    )


class Backbone(Frozen):
    """Exactly one of `hub`, `package`, `path`, `built` names the source of the weights."""

    name: Name = Field(description="Name of the backbone; the file has the same name.")
    description: str = Field("", description="One sentence for readers. The default is empty.")
    hub: HubId | None = Field(None, description="Repository on the hub, such as facebook/bart-large.")
    revision: CommitHash | None = Field(
        None,
        description="Commit of the hub repository. "
        "The default null lets `bench prepare` resolve the newest commit and record it.",
    )
    package: PackageSource | None = Field(None, description="Python package that holds the weights.")
    same_as: HubId | None = Field(
        None,
        description="Repository on the hub that holds the same weights as `package`: cards of adapters name it, since "
        "their readers load the base from there. The default null means that there is none.",
    )
    license: License | None = Field(
        None,
        description="License of the weights, as the hub writes it, such as apache-2.0. The default null means that it "
        "is not recorded.",
    )
    path: str | None = Field(None, description="Local folder in the layout of a hub repository.")
    built: str | None = Field(
        None, description="Name of a tiny model in bench/inputs/tiny_models.py, which `bench prepare` trains once."
    )
    kinds: Annotated[list[Kind], Field(min_length=1, description="Kinds of task that this model can be trained for.")]
    matrices: Annotated[
        list[str],
        Field(
            min_length=1,
            description="Suffixes of the module names that are adapted, in the order of tables and figures.",
        ),
    ]
    head: list[str] = Field(
        [],
        description="Modules that are trained in full in float32 and never quantized, such as pooler and classifier. "
        "The default is none.",
    )
    config: dict[str, Plain] = Field(
        {}, description="Fields of the released config.json, so that `bench plan` can count without a download."
    )
    parameters: int | None = Field(
        None,
        description="Number of parameters of the released checkpoint, a tied matrix counted once. A job's time and "
        "memory are estimated from it where nothing better is known; the default null stands for a small model.",
    )
    untie_head: bool = Field(
        False,
        description="Set it to true where the checkpoint's lm_head is a matrix of its own but transformers would tie "
        "it to the embedding, as for Flan-T5. The default is false.",
    )
    attention: Literal["sdpa", "eager"] = Field(
        "sdpa", description="Attention implementation of transformers. The default is sdpa."
    )

    @property
    def hub_name(self) -> str | None:
        """The repository on the hub from which a reader gets these weights; None if there is none."""
        return self.hub or self.same_as

    @property
    def input(self) -> Input:
        """What the model reads."""
        return KINDS[self.kinds[0]].input

    @property
    def image_tokens(self) -> int | None:
        """Places of an image in the model, by its `config`: patches and the class token; None if that is unknown."""
        size, patch = (self.config.get(key) for key in ("image_size", "patch_size"))
        return (size // patch) ** 2 + 1 if isinstance(size, int) and isinstance(patch, int) else None

    @model_validator(mode="after")
    def _consistent(self) -> Backbone:
        if len({KINDS[kind].input for kind in self.kinds}) > 1:
            raise ValueError(f"kinds {self.kinds} mix texts and images, but a model reads one of them")
        sources = [name for name in ("hub", "package", "path", "built") if getattr(self, name) is not None]
        if len(sources) != 1:
            raise ValueError(f"give exactly one of hub, package, path, built; got {sources or 'none'}")
        if self.same_as is not None and self.package is None:
            raise ValueError("same_as goes with `package`: it names the repository whose weights the package holds")
        if self.config and not isinstance(self.config.get("model_type"), str):
            raise ValueError("config: expected model_type, the name of the model's architecture, such as llama")
        if len(set(self.matrices)) != len(self.matrices):
            raise ValueError(f"matrices repeat: {self.matrices}")
        return self

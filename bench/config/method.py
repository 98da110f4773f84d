"""Method: storage of the base x adapter x who decides the ranks. One YAML file each in workflow/methods/."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from bench.config.growth import Growth
from bench.config.module_roles import Role, Third
from bench.config.recipe import Recipe
from bench.config.task import KeyName
from bench.config.types import Frozen
from bench.errors import nearest

Storage = Literal["fp32", "bf16", "nf4"]
Adapter = Literal["lora", "adalora", "peft", "full"]
AllocatorName = Literal["fixed", "adalora", "plateau", "interval", "random", "increlora"]

_OF_ROWS = ("max_length", "max_target_length")  # rows are tokenized once for all methods of a task


def _key_of_a_recipe(key: str) -> str:
    if key in _OF_ROWS:
        raise ValueError(f"rows are tokenized alike for every method: set {key} in the recipe of a task or a study")
    if key not in Recipe.model_fields:
        raise ValueError(f"unknown key {key!r}{nearest(key, set(Recipe.model_fields) - set(_OF_ROWS))}")
    return key


RecipeKey = Annotated[str, AfterValidator(_key_of_a_recipe)]


class PeftChoice(Frozen):
    """A config class of PEFT and its fields; what the budget, the recipe and the backbone say is not among them."""

    config: str = Field(description="the class's name, such as LoraConfig")
    fields: dict[str, Any] = Field({}, description="arguments of the class")


class Method(Frozen):
    name: KeyName
    label: str = Field(description="as tables and figures write it")
    description: str = ""
    storage: Storage = Field("fp32", description="how the frozen base is stored")
    double_quantization: bool = Field(True, description="nf4 only: the quantization constants are quantized too")
    adapter: Adapter = Field(description="peft: any of PEFT's; full: none, every parameter is trained")
    peft: PeftChoice | None = Field(None, description="which one, where the adapter is peft")
    matrices: Annotated[list[Role], Field(min_length=1)] | None = Field(None, description="only these; null: all")
    depth: Third | None = Field(None, description="only layers in this third of each stack; null: all")
    allocator: AllocatorName = Field("fixed", description="who decides the rank of each matrix")
    growth: Growth | None = Field(None, description="of the allocators that let ranks grow: all but fixed and adalora")
    unit: Literal["ranks", "parameters"] = Field("ranks", description="what the allocator's budget counts")
    importance: Literal["sensitivity-uncertainty", "sensitivity", "magnitude"] = "sensitivity-uncertainty"
    importance_gradient: Literal["clipped", "raw"] = Field("clipped", description="as published: after clipping")
    compact: bool = Field(True, description="remove pruned ranks when the allocation freezes")
    regularizer: bool | None = Field(
        None, description="keep rows of A and columns of B orthonormal; null: where there are singular values"
    )
    recipe: dict[RecipeKey, Any] = Field({}, description="what this method changes in every task's recipe")

    @property
    def lean(self) -> bool:
        """Whether the adapter's layers are ours, so that each matrix has ranks that can be counted and moved."""
        return self.adapter in ("lora", "adalora")

    @property
    def regularized(self) -> bool:
        return self.adapter == "adalora" if self.regularizer is None else self.regularizer

    @property
    def grows(self) -> bool:
        return self.growth is not None

    @model_validator(mode="after")
    def _consistent(self) -> Method:
        if self.allocator in ("adalora", "increlora") and self.adapter != "adalora":
            raise ValueError(
                f"allocator {self.allocator!r} ranks singular values: adapter must be adalora, not {self.adapter}"
            )
        if (self.allocator not in ("fixed", "adalora")) != self.grows:
            raise ValueError(
                f"allocator {self.allocator!r}: the block `growth` and an allocator that grows go together"
            )
        if self.grows and self.unit != "ranks":
            raise ValueError(f"allocator {self.allocator!r} counts ranks: unit must be ranks")
        if not self.lean and (self.allocator != "fixed" or self.unit != "ranks" or self.regularizer):
            raise ValueError(f"adapter {self.adapter!r} has no ranks to move, count or regularize")
        if (self.adapter == "peft") != (self.peft is not None):
            raise ValueError("the block `peft` and adapter: peft go together")
        if self.adapter == "full" and self.storage != "fp32":
            raise ValueError(f"adapter 'full' trains every parameter: storage must be fp32, not {self.storage}")
        return self

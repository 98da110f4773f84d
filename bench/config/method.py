"""Method: how the base is stored, which adapter is trained, and what decides the ranks.

One YAML file per method in workflow/methods/.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, create_model, model_validator

from bench.config.module_roles import Role, Third
from bench.config.rank_rules import Gates, Growth, Moving, Pattern, Salience
from bench.config.recipe import Recipe
from bench.config.types import Frozen, KeyName, Label, Plain, label_field
from bench.engine.allocators.names import ALLOCATORS, AllocatorFacts
from bench.errors import nearest

# How the frozen base is held, and with it how it multiplies. fp32_autocast holds it in float32 and multiplies in
# bfloat16 under torch.autocast: its name begins with what is stored, which is what the key is about.
Storage = Literal["fp32", "fp32_autocast", "bf16", "nf4"]
FULL_PRECISION: tuple[Storage, ...] = ("fp32", "fp32_autocast")  # those that hold every weight in float32
Adapter = Literal["lora", "adalora", "peft", "full"]

# The names of bench/engine/allocators/names.py, which a type checker can't read there.
if TYPE_CHECKING:
    AllocatorName = str
else:
    AllocatorName = Literal[tuple(ALLOCATORS)]

# Rows are tokenized once for all methods of a task, so a method can't change these keys of the recipe.
TOKENIZATION_KEYS = ("max_length", "max_target_length")


def _check_recipe_key(key: str) -> str:
    if key in TOKENIZATION_KEYS:
        raise ValueError(f"rows are tokenized alike for every method: set {key} in the recipe of a task or a study")
    if key not in Recipe.model_fields:
        raise ValueError(f"unknown key {key!r}{nearest(key, set(Recipe.model_fields) - set(TOKENIZATION_KEYS))}")
    return key


# The fields of a recipe, without what holds between them: a method changes a few of a task's.
_RecipeValues: type[BaseModel] = create_model(  # type: ignore[call-overload]
    "_RecipeValues", __base__=Frozen, **{name: (field.annotation, field) for name, field in Recipe.model_fields.items()}
)


def _check_recipe_values(recipe: dict[str, Any]) -> dict[str, Any]:
    phases = recipe.get("rank_schedule")
    if isinstance(phases, dict):  # a method may change one phase of the task's
        phases = {"initial_steps": 0, "final_steps": 0, "interval": 1} | phases
    _RecipeValues.model_validate({**recipe, **({"rank_schedule": phases} if phases else {})})
    return recipe


RecipeKey = Annotated[str, AfterValidator(_check_recipe_key)]


class PeftChoice(Frozen):
    """A config class of PEFT and the arguments that the method sets itself.

    What follows from the budget, the recipe and the backbone (`r`, `lora_alpha`, `target_modules`, ...) is not among
    them: see `bench.config.peft_fields.SET_BY_HARNESS`.
    """

    config: str = Field(description="Name of the class, such as LoraConfig.")
    fields: dict[str, Plain] = Field({}, description="Arguments of the class. The default is none.")


class Method(Frozen):
    """One way to fine-tune: storage of the base, adapter, allocator."""

    name: KeyName = Field(description="Name of the method; the file has the same name.")
    label: Label = label_field("method")
    description: str = Field("", description="One sentence for readers. The default is empty.")
    storage: Storage = Field(
        "fp32",
        description="Format in which the frozen base is stored: fp32, bf16 or nf4. fp32_autocast stores it in fp32 and "
        "multiplies in bfloat16, under torch.autocast. The default is fp32.",
    )
    double_quantization: bool = Field(
        True, description="For nf4: also quantize the quantization constants. The default is true."
    )
    adapter: Adapter = Field(
        description="The adapter that is trained: lora and adalora are ours, peft is any adapter of PEFT, and full "
        "trains every parameter without an adapter."
    )
    peft: PeftChoice | None = Field(None, description="The adapter of PEFT; required where adapter is peft.")
    matrices: Annotated[list[Role], Field(min_length=1)] | None = Field(
        None,
        description="Roles of the matrices that are adapted, such as query. The default null adapts all matrices of "
        "the backbone.",
    )
    depth: Third | None = Field(
        None, description="Third of each layer stack that is adapted. The default null adapts all layers."
    )
    allocator: AllocatorName = Field(
        "fixed", description="Rule that decides the rank of each matrix. The default is fixed."
    )
    growth: Growth | None = Field(
        None, description="How ranks grow; required for the allocators that let ranks grow, and only for these."
    )
    pattern: Pattern | None = Field(
        None, description="Where given ranks come from; required for the allocator given, and only for it."
    )
    moving: Moving | None = Field(
        None,
        description="How ranks move; required for the allocator elalora, and only for it.",
    )
    gates: Gates | None = Field(None, description="How gates learn; required for the allocator l1ra, and only for it.")
    salience: Salience | None = Field(
        None,
        description="How the salience of ranks is measured; required for the allocator salientlora, and only for it.",
    )
    unit: Literal["ranks", "parameters"] = Field(
        "ranks", description="What the allocator counts against the budget. The default is ranks."
    )
    importance: Literal["sensitivity-uncertainty", "sensitivity", "magnitude"] = Field(
        "sensitivity-uncertainty",
        description="Score by which ranks are pruned. The default is that of the AdaLoRA paper (equations 9 to 11).",
    )
    importance_gradient: Literal["clipped", "raw"] = Field(
        "clipped",
        description="Gradient that the importance is computed from. The default is the clipped one, as published.",
    )
    compact: bool = Field(
        True, description="Remove pruned ranks from memory once the ranks are final. The default is true."
    )
    sparsity: float | None = Field(
        None,
        ge=0,
        le=1e6,
        description="For the allocator sora: weight lambda of the L1 penalty on the singular values. Each step takes "
        "lambda times its learning rate off their magnitudes. The default null means 0.4.",
    )
    regularizer: bool | None = Field(
        None,
        description="Keep the rows of A and the columns of B orthonormal by a penalty. "
        "The default null means: only where the adapter is adalora.",
    )
    recipe: Annotated[dict[RecipeKey, Any], AfterValidator(_check_recipe_values)] = Field(
        {}, description="Keys of the recipe that this method changes for every task. The default is none."
    )

    @property
    def full_precision(self) -> bool:
        """Whether every weight is stored in float32, so that it can be trained and no first value was rounded."""
        return self.storage in FULL_PRECISION

    @property
    def lean(self) -> bool:
        """Whether the adapter's layers are ours, so that each matrix has ranks that can be counted and moved."""
        return self.adapter in ("lora", "adalora")

    @property
    def gathers_gradients(self) -> bool:
        """Whether gradients of the pretrained weights are gathered before the training (GoRA)."""
        return self.pattern is not None and self.pattern.gradients is not None

    @property
    def regularized(self) -> bool:
        """Whether the orthogonality penalty is part of the loss."""
        return self.adapter == "adalora" if self.regularizer is None else self.regularizer

    @property
    def moves(self) -> AllocatorFacts:
        """What its allocator does with the ranks."""
        return ALLOCATORS[self.allocator]

    @property
    def prunes(self) -> bool:
        """Whether ranks are pruned during the training."""
        return self.moves.ranks == "pruned"

    @property
    def grows(self) -> bool:
        """Whether ranks grow during the training."""
        return self.growth is not None

    @model_validator(mode="after")
    def _consistent(self) -> Method:
        # Some allocators mask or score singular values, and only the adapter adalora has any.
        if self.lean and self.adapter not in self.moves.adapters:
            allowed = " or ".join(self.moves.adapters)
            raise ValueError(f"allocator {self.allocator!r}: adapter must be {allowed}, not {self.adapter}")
        if (self.moves.ranks == "grown") != self.grows:
            raise ValueError(
                f"allocator {self.allocator!r}: the block `growth` and an allocator that grows go together"
            )
        if (self.moves.ranks == "given") != (self.pattern is not None):
            raise ValueError("allocator 'given' and the block `pattern` go together")
        if self.pattern is not None and self.pattern.source is not None and self.recipe:
            raise ValueError(f"it trains as {self.pattern.source!r} does, but for the ranks: no recipe of its own")
        if self.pattern is not None and self.pattern.draw == "eva" and (self.adapter, self.unit) != ("lora", "ranks"):
            raise ValueError("draw: eva starts LoRA's A, and counts ranks: adapter must be lora, and unit ranks")
        if self.pattern is not None and self.pattern.draw == "gora" and self.adapter != "lora":
            raise ValueError(f"draw: gora starts LoRA's B: adapter must be lora, not {self.adapter}")
        if self.sparsity is not None and not self.moves.sparse:
            raise ValueError(f"allocator {self.allocator!r} has no penalty on singular values: remove `sparsity`")
        if self.moves.gates != (self.gates is not None):
            raise ValueError(f"allocator {self.allocator!r}: the block `gates` and the allocator l1ra go together")
        if (self.moves.ranks == "moved" and not self.moves.gates) != (self.moving is not None):
            raise ValueError(
                f"allocator {self.allocator!r}: the block `moving` and an allocator that moves ranks go together"
            )
        if self.moves.salience != (self.salience is not None):
            raise ValueError(
                f"allocator {self.allocator!r}: the block `salience` and the allocator salientlora go together"
            )
        # What grows or moves are whole ranks, which cost more parameters in a large matrix than in a small one.
        if (self.grows or self.moves.ranks == "moved") and self.unit != "ranks":
            raise ValueError(f"allocator {self.allocator!r} counts ranks: unit must be ranks")
        if not self.lean and (self.allocator != "fixed" or self.unit != "ranks" or self.regularizer):
            raise ValueError(f"adapter {self.adapter!r} has no ranks to move, count or regularize")
        if (self.adapter == "peft") != (self.peft is not None):
            raise ValueError("the block `peft` and adapter: peft go together")
        # Small updates get lost in weights of 16 bits, and weights of 4 bits can not be trained at all.
        if self.adapter == "full" and not self.full_precision:
            allowed = " or ".join(FULL_PRECISION)
            raise ValueError(f"adapter 'full' trains every parameter: storage must be {allowed}, not {self.storage}")
        return self

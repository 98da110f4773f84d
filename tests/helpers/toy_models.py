"""Models of a few matrices, one for our engine and an equal one for PEFT, and the training loop that PEFT documents."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from peft import AdaLoraConfig, LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.nn import functional

from bench.config.backbone import Backbone
from bench.config.budget import Budget
from bench.config.cell import Cell, DataChoice
from bench.config.method import Method
from bench.config.recipe import Recipe
from bench.config.task import Task
from bench.engine.schedule import RankSchedule
from bench.engine.step import Core
from bench.models.core import build_core
from bench.models.sites import AdapterSite

CLASSES = 3
Shape = tuple[int, int]


class Branches(nn.Module):
    """Parallel linear layers of any shapes (in, out), each on a slice of the input, and a head over all of them."""

    def __init__(self, shapes: Sequence[Shape], dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.shapes = shapes
        self.layers = nn.ModuleList(nn.Linear(i, o, dtype=dtype) for i, o in shapes)
        self.head = nn.Linear(sum(o for _, o in shapes), CLASSES)

    def forward(self, x: Tensor, skip: Sequence[int] = ()) -> Tensor:
        parts = []
        for index, (layer, (width, out)) in enumerate(zip(self.layers, self.shapes, strict=True)):
            dtype = layer.weight.dtype if hasattr(layer, "weight") else x.dtype
            part = x[..., :width].to(dtype if dtype.is_floating_point else x.dtype)  # a packed weight has bytes
            parts.append(x.new_zeros(*x.shape[:-1], out) if index in skip else torch.tanh(layer(part)).float())
        return self.head(torch.cat(parts, dim=-1))


def sites_of(shapes: Sequence[Shape]) -> list[AdapterSite]:
    """The site of each layer of `Branches`."""
    return [AdapterSite(f"layers.{k}", i, o, "layers", k) for k, (i, o) in enumerate(shapes)]


def cell_of(
    *,
    adapter: str = "adalora",
    allocator: str = "adalora",
    rank: float | None = 2,
    parameters: int | None = None,
    initial_rank: int | None = None,
    method: dict[str, Any] | None = None,
    **recipe: Any,
) -> Cell:
    """A cell with this method, budget and recipe; task and backbone are not real."""
    return Cell(
        study="test",
        task=Task(
            name="toy",
            kind="classification",
            data={"hub": "a/b", "columns": {"text": ["t"], "target": "y"}},
            labels=["a", "b", "c"],
            metrics=["accuracy"],
        ),
        backbone=Backbone(name="toy", path="toy", kinds=["classification"], matrices=["layers"]),
        method=Method(name="m", label="m", adapter=adapter, allocator=allocator, **(method or {})),
        budget_name="b",
        budget=Budget(rank=rank, parameters=parameters, initial_rank=initial_rank),
        seed=0,
        recipe=Recipe(**{"learning_rate": 0.02, "warmup_steps": 0, "orthogonality": 0.1, "alpha": 8.0, **recipe}),
        data=DataChoice(source="embedded"),
    )


def pack(model: Branches) -> None:
    """Store the matrices of `model` in 4 bits (nf4), apart from its head."""
    import bitsandbytes as bnb

    for index, old in enumerate(model.layers):
        new = bnb.nn.Linear4bit(old.in_features, old.out_features, compute_dtype=torch.float32, quant_type="nf4")
        new.load_state_dict(old.state_dict())
        model.layers[index] = new.to("cpu")
    model.is_loaded_in_4bit = True


def adapted(
    shapes: Sequence[Shape],
    rank: int,
    schedule: RankSchedule | None = None,
    *,
    seed: int = 0,
    svd: bool = True,
    dropout: float = 0.0,
    dtype: torch.dtype = torch.float32,
    random: bool = False,
    alpha: float = 8.0,
    target: int = 1,
    packed: bool = False,
) -> Any:
    """A PeftModel over `Branches`. With `random`, E and B do not start at zero, so that no gradient is zero.

    packed: the matrices under the adapters are stored in 4 bits.
    """
    torch.manual_seed(seed)
    model = Branches(shapes, dtype)
    if packed:
        pack(model)
    targets = [f"layers.{k}" for k in range(len(shapes))]
    common = {"lora_alpha": alpha, "target_modules": targets, "modules_to_save": ["head"], "lora_dropout": dropout}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not svd:
            wrapped = get_peft_model(model, LoraConfig(r=rank, init_lora_weights=not random, **common))
        else:
            phases = {"total_step": 10}
            if schedule is not None:
                phases = {
                    "total_step": schedule.total_steps,
                    "tinit": schedule.initial_steps,
                    "tfinal": schedule.final_steps,
                    "deltaT": schedule.interval,
                }
            config = AdaLoraConfig(
                init_r=rank, target_r=target, init_lora_weights=not random, orth_reg_weight=0.1, **phases, **common
            )
            wrapped = get_peft_model(model, config)
    for name, parameter in wrapped.named_parameters():
        if "ranknum" in name:
            parameter.requires_grad_(False)
    return wrapped


def twin(model: Any) -> Any:
    """An equal model that shares no tensor."""
    return copy.deepcopy(model)


def batches(seed: int, rows: int, width: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless random batches: inputs [rows, 2, width], classes [rows, 2]."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        x = torch.randn(rows, 2, width, generator=generator)
        yield x, torch.randint(0, CLASSES, (rows, 2), generator=generator)


def loss_of(model: Any, batch: tuple[Tensor, Tensor], **kwargs: Any) -> Tensor:
    """The mean cross-entropy of a batch."""
    x, y = batch
    return functional.cross_entropy(model(x, **kwargs).flatten(0, 1), y.flatten())


def width_of(shapes: Sequence[Shape]) -> int:
    """The width of the inputs of `Branches`."""
    return max(i for i, _ in shapes)


def core_of(
    shapes: Sequence[Shape], rank: int, schedule: RankSchedule, cell: Cell | None = None, **kwargs: Any
) -> Core:
    """Our engine over a new model; the cell and the model are its attributes `cell` and `model`."""
    svd = cell is None or cell.method.adapter == "adalora"
    model = adapted(shapes, rank, schedule, svd=svd, **kwargs)
    core = build_core(model, sites_of(shapes), cell or cell_of(), schedule)
    core.cell = cell or cell_of()  # type: ignore[attr-defined]
    core.model = model  # type: ignore[attr-defined]
    return core


def assert_same_bits(core: Core, other: Core) -> None:
    """The two hold the same state: parameters, moments, ranks and what their allocators know."""
    (tensors, plain), (expected, expected_plain) = core.state_dict(), other.state_dict()
    assert plain == expected_plain
    assert set(tensors) == set(expected)
    for name, tensor in expected.items():
        assert torch.equal(tensor, tensors[name]), name


def peft_regularizer(model: Any, weight: float) -> Tensor:
    """The regularizer as in PEFT's AdaLoraModel.forward, with autograd."""
    norms = []
    for name, p in model.named_parameters():
        if "lora_A" in name or "lora_B" in name:
            gram = p @ p.T if "lora_A" in name else p.T @ p
            norms.append(torch.norm(gram - torch.eye(*gram.shape), p="fro"))
    return weight * sum(norms) / len(norms)


class PeftLoop:
    """The loop of PEFT's documentation, with clipping and the learning rates of `core`."""

    def __init__(self, model: Any, core: Core) -> None:
        self.model, self.core, self.recipe = model, core, core.cell.recipe
        parameters = [p for p in model.parameters() if p.requires_grad]
        decayed = [p for p in parameters if p.ndim > 1]
        rest = [p for p in parameters if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": self.recipe.weight_decay}, {"params": rest, "weight_decay": 0.0}],
            lr=0.0,
            betas=self.recipe.adam_betas,
            eps=self.recipe.adam_epsilon,
        )
        self.step_count = 0
        self.scores: dict[tuple[str, int], float] = {}  # of each site and rank, when PEFT last chose a mask
        choose = self.allocator.mask_to_budget

        def choose_and_tell(tuned: Any, budget: int) -> Any:
            self.scores = self._scores()
            return choose(tuned, budget)

        self.allocator.mask_to_budget = choose_and_tell

    @property
    def allocator(self) -> Any:
        return self.model.base_model.rankallocator

    def step(self, batch: tuple[Tensor, Tensor], *, allocate: bool = True) -> Tensor:
        for group in self.optimizer.param_groups:
            group["lr"] = self.core.learning_rate(self.step_count)
        loss = loss_of(self.model, batch)
        total = loss
        if self.recipe.orthogonality:
            total = loss + peft_regularizer(self.model, self.recipe.orthogonality)
        total.backward()
        if self.recipe.gradient_clip:
            nn.utils.clip_grad_norm_([p for p in self.model.parameters() if p.requires_grad], self.recipe.gradient_clip)
        self.optimizer.step()
        self.step_count += 1
        if allocate:
            self.model.base_model.update_and_allocate(self.step_count)
        self.optimizer.zero_grad()
        return loss.detach()

    def pattern(self) -> dict[str, list[bool]] | None:
        """PEFT's rank_pattern with the names of sites."""
        by_parameter = self.model.peft_config["default"].rank_pattern
        return by_parameter and {
            name.removesuffix(".lora_E.default").removeprefix("model."): mask for name, mask in by_parameter.items()
        }

    def _scores(self) -> dict[tuple[str, int], float]:
        """The importance of each rank (equations 7 to 11 of the paper), from PEFT's running averages."""
        scores = {}
        for site in self.core.flat.layout.sites:
            a, b, e = (
                self.allocator._element_score(f"{site.name}.{factor}.default")
                for factor in ("lora_A", "lora_B", "lora_E")
            )
            for rank, score in enumerate((e[:, 0] + a.mean(1) + b.mean(0)).tolist()):
                scores[site.name, rank] = score
        return scores

    def factors(self, site: AdapterSite) -> tuple[Tensor, Tensor, Tensor]:
        """PEFT's parameters A, B and E of a site."""
        layer = self.model.get_base_model().get_submodule(site.name)
        return layer.lora_A["default"], layer.lora_B["default"], layer.lora_E["default"]

"""What loading a saved model found: tensors that its files lack, that no module takes, or that have another shape."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import BenchError

NAMED = 4  # so many tensors are named in a message


@dataclass(frozen=True)
class LoadReport:
    """Names of tensors, sorted. `mismatched` says the shape in the files and that in the model as well."""

    folder: Path
    missing: Sequence[str]
    unexpected: Sequence[str]
    mismatched: Sequence[str]

    @classmethod
    def of(cls, folder: Path, info: Mapping[str, Any]) -> LoadReport:
        """From what `from_pretrained(..., output_loading_info=True)` of transformers returns beside the model."""
        mismatched = [
            f"{name} {list(saved)} (expected {list(expected)})" for name, saved, expected in info["mismatched_keys"]
        ]
        return cls(folder, sorted(info["missing_keys"]), sorted(info["unexpected_keys"]), sorted(mismatched))

    def require_backbone(self, heads: Collection[str]) -> None:
        """Raises BenchError where anything but the heads at these paths would keep its random values."""
        self._refuse_mismatched()
        lost = [name for name in self.missing if not any(name.startswith(f"{head}.") for head in heads)]
        if lost:
            raise BenchError(
                f"{self.folder}: {listed('missing', lost)} among its weights, and no `head` of the backbone's file is "
                "called so: it would stay random and frozen"
            )

    def require_all(self, model: Any) -> None:
        """Raises BenchError unless the files hold all tensors of `model` and no other that would change its outputs."""
        self._refuse_mismatched()
        if self.missing:
            raise BenchError(f"{self.folder}: {listed('missing', self.missing)} among its weights")
        surplus = [name for name in self.unexpected if name not in self.of_no_use(model)]
        if surplus:
            raise BenchError(f"{self.folder}: {listed('unknown to the model of its config.json', surplus)}")

    def of_no_use(self, model: Any) -> list[str]:
        """The unexpected tensors that `model` is right to leave out.

        They belong to a module at the top of a checkpoint that this kind of model does not have, such as the head of
        the pretraining, or are no weights: positions, masks and numbers of versions that older files hold.
        """
        prefix = getattr(model, "base_model_prefix", "")
        base = getattr(model, prefix, model) if prefix else model
        tops = {name for part in (model, base) for name, _ in part.named_children()}
        buffers = {name for name, _ in model.named_buffers()}
        return [
            name
            for name in self.unexpected
            if name.removeprefix(f"{prefix}.").split(".")[0] not in tops
            or name in buffers
            or not (name.endswith((".weight", ".bias")) or ".lora_" in name)
        ]

    def _refuse_mismatched(self) -> None:
        if self.mismatched:
            raise BenchError(f"{self.folder}: {listed('of another shape than the model has', self.mismatched)}")


def check_adapter(peft_model: Any, adapter_name: str, folder: Path, saved: Collection[str]) -> None:
    """Compare the names of the tensors `saved` in the adapter's file in `folder` with those that PEFT would save.

    Raises BenchError where one of `peft_model` is not in the file, so that it keeps its initial values, or where one of
    the file is not in the model.
    """
    from peft import get_peft_model_state_dict

    expected = get_peft_model_state_dict(peft_model, adapter_name=adapter_name, save_embedding_layers=False).keys()
    missing = sorted(expected - set(saved))
    if missing:
        raise BenchError(f"{folder}: {listed('missing', missing)} in the adapter's file")
    # Embeddings that were saved with the adapter have the base's own names.
    surplus = sorted(set(saved) - expected - peft_model.state_dict().keys())
    if surplus:
        raise BenchError(f"{folder}: {listed('unknown to the adapter that its config describes', surplus)}")


def check_heads(drawn: Sequence[str], folder: Path, saved: Collection[str]) -> None:
    """Raises BenchError where a tensor that the base lacks (`drawn` at random) is not `saved` with the adapter."""
    random = [name for name in drawn if not any(key.endswith(f".{name}") for key in saved)]
    if random:
        raise BenchError(
            f"{folder}: {listed('missing', random)}: neither the base nor the adapter has the head's weights, so its "
            "predictions would be random"
        )


def listed(what: str, names: Sequence[str]) -> str:
    """'2 tensors are missing: a, b'."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    count = "1 tensor is" if len(names) == 1 else f"{len(names)} tensors are"
    return f"{count} {what}: {', '.join(names[:NAMED])}{more}"

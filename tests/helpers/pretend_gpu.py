"""A GPU that is pretended: tensors on it stay in the host's memory, and their storage says that they are on 'cuda:0'.

Real code trains a real cell on it. What a GPU would do is noted in a file, line by line: an operation whose tensors are
on two devices, one for which CUDA has no deterministic kernel, and each place where the host waits for the device. What
cannot be seen: kernels of CUDA, threads, and the recomputation of checkpointed blocks (PyTorch leaves function modes
while it is in a backward pass).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

GPU, HOST = torch.device("cuda", 0), torch.device("cpu")
aten = torch.ops.aten
# They raise an error under torch.use_deterministic_algorithms(True), as its documentation lists them (PyTorch 2.15).
WITHOUT_DETERMINISTIC_KERNEL = (
    "avg_pool3d_backward",
    "_adaptive_avg_pool",  # 2d and 3d
    "adaptive_max_pool",
    "fractional_max_pool",
    "max_unpool",
    "upsample_linear1d_backward",
    "upsample_bilinear2d_backward",
    "upsample_bicubic2d_backward",
    "upsample_trilinear3d_backward",
    "reflection_pad",
    "nll_loss2d",
    "_ctc_loss_backward",
    "_embedding_bag",
    "put_",
    "put",
    "histc",
    "bincount",
    "median",
    "kthvalue",
    "grid_sampler",
    "scatter_reduce",
    "index_reduce",
)
# Their results' sizes are values, which the host waits for.
VALUES_READ = (aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten._unique2, aten.unique_dim, aten.equal)
INDEXING = (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_)


class PretendedGpu:
    """Notes what happens, each note once per line of code, with the `phase` in which it did."""

    def __init__(self, file: Path) -> None:
        self.phase = "start"
        self.making = False  # whether the operation that is running makes its result on the GPU
        self.moving = False  # whether it copies from one device to the other
        self._file = file
        self._noted: dict[tuple[str, str], int] = {}

    def note(self, what: str) -> None:
        """Write down `what` happened in this phase, and the line of bench/ that led to it."""
        frame, place = sys._getframe(1), "?"
        while frame is not None:
            if "/bench/" in frame.f_code.co_filename:
                place = f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}"
                break
            frame = frame.f_back  # type: ignore[assignment]
        with self._file.open("a") as notes:
            notes.write(f"{self.phase}\t{what}\t{place}\n")

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        before, self.phase = self.phase, phase
        try:
            yield
        finally:
            self.phase = before


def is_on_gpu(tensor: Tensor) -> bool:
    with torch._C.DisableTorchFunction():
        return bool(getattr(tensor.untyped_storage(), "on_gpu", False))


def put_on(tensor: Tensor, *, gpu: bool) -> Tensor:
    with torch._C.DisableTorchFunction():
        tensor.untyped_storage().on_gpu = gpu
    return tensor


class _Functions(TorchFunctionMode):  # type: ignore[misc]
    """Answers questions about devices, and moves tensors between them."""

    def __init__(self, gpu: PretendedGpu) -> None:
        super().__init__()
        self._gpu = gpu

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        options, name = kwargs or {}, getattr(func, "__name__", "")
        attribute = getattr(getattr(func, "__self__", None), "__name__", "") if name == "__get__" else ""
        if attribute in ("device", "is_cuda") and is_on_gpu(args[0]):
            return GPU if attribute == "device" else True
        if name == "get_device":
            return 0 if is_on_gpu(args[0]) else -1
        if name in ("numpy", "__array__") and is_on_gpu(args[0]):
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu()")
        if name == "pin_memory":
            return args[0]
        if name in ("cpu", "cuda", "to") and args and isinstance(args[0], Tensor):
            return self._move(func, name, args, options)
        given = (*args, *options.values())
        asked = name not in ("device", "_parse_to") and any(_is_gpu(value) for value in given)
        # A function of C++ makes what it needs where its tensors are; pad_sequence fills a new one with them.
        if not asked and not (name == "pad_sequence" and any(is_on_gpu(tensor) for tensor in args[0])):
            return func(*args, **options)
        before, self._gpu.making = self._gpu.making, True
        try:
            result = func(*map(_on_host, args), **{key: _on_host(value) for key, value in options.items()})
        finally:
            self._gpu.making = before
        for tensor in tree_iter(result):
            if isinstance(tensor, Tensor):
                put_on(tensor, gpu=True)
        return result

    def _move(self, func: Any, name: str, args: Sequence[Any], options: dict[str, Any]) -> Tensor:
        tensor: Tensor = args[0]
        target = {"cpu": HOST, "cuda": GPU}.get(name)
        for value in (*args[1:], *options.values()):
            if _is_device(value):
                target = torch.device(value)
            elif isinstance(value, Tensor):
                target = value.device
        if target is None or "meta" in (target.type, tensor.device.type):
            result: Tensor = func(*args, **options)
            return result
        given = (*args[1:], options.get("dtype"))
        dtype = next((value for value in given if isinstance(value, torch.dtype)), tensor.dtype)
        to_gpu = target.type == "cuda"
        if to_gpu == is_on_gpu(tensor):
            return tensor if dtype == tensor.dtype else tensor.to(dtype)
        if not (to_gpu and (options.get("non_blocking") or True in args[1:])):
            self._gpu.note(f"wait: copy to {target.type}")
        self._gpu.moving = True
        try:
            return put_on(tensor.clone() if dtype == tensor.dtype else tensor.to(dtype), gpu=to_gpu)
        finally:
            self._gpu.moving = False


class _Operations(TorchDispatchMode):  # type: ignore[misc]
    """Looks at every operation: where its tensors are, and whether CUDA could compute it so."""

    def __init__(self, gpu: PretendedGpu) -> None:
        super().__init__()
        self._gpu = gpu

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        options, packet, gpu = kwargs or {}, func._overloadpacket, self._gpu
        given = [value for value in tree_iter((args, options)) if isinstance(value, Tensor)]
        places = [is_on_gpu(tensor) for tensor in given]
        if any(places):
            self._look(func, args, given, places)
        result = func(*args, **options)
        on_gpu = places[0] if packet is aten.copy_ else any(places) or (gpu.making and not given)
        known = {id(tensor) for tensor in given}
        for tensor in tree_iter(result):
            new = isinstance(tensor, Tensor) and id(tensor) not in known and not is_on_gpu(tensor)
            if new and not gpu.moving:
                put_on(tensor, gpu=on_gpu)
        return result

    def _look(self, func: Any, args: Sequence[Any], given: Sequence[Tensor], places: Sequence[bool]) -> None:
        packet, name = func._overloadpacket, func._schema.name.removeprefix("aten::")
        on_host = [tensor for tensor, on_gpu in zip(given, places, strict=True) if not on_gpu and tensor.dim()]
        if on_host and not self._gpu.moving:
            if packet in (*INDEXING, aten.copy_):
                self._gpu.note(f"wait: {name} from the host")
            else:
                self._gpu.note(f"two devices: {name}")
        if packet in VALUES_READ:
            self._gpu.note(f"wait: {name}")
        if packet in INDEXING and any(t.dtype == torch.bool for t in tree_iter(args[1]) if isinstance(t, Tensor)):
            self._gpu.note("wait: boolean index")
        if name.startswith(WITHOUT_DETERMINISTIC_KERNEL):
            self._gpu.note(f"raises: {name}")


def pretend_gpu(file: Path, *, failing: bool = False) -> None:
    """Let all that this process does from now on happen on a pretended GPU; call it in a process of its own.

    What is noted stands in `file`: phase, what happened, where. `failing`: each step makes mistakes, to see them noted.
    """
    from bench.training import run
    from bench.training.loop import Loop

    gpu = PretendedGpu(file)
    answers: dict[str, Any] = {
        "is_available": True,
        "is_initialized": True,
        "device_count": 1,
        "current_device": 0,
        "max_memory_allocated": 2,
        "max_memory_reserved": 3,
        "memory_stats": {"requested_bytes.all.peak": 1},
        "is_bf16_supported": True,
        "get_device_name": "pretended",
    }
    for name, answer in answers.items():
        setattr(torch.cuda, name, lambda *_, _answer=answer, **__: _answer)
    for name in ("reset_peak_memory_stats", "empty_cache", "set_rng_state", "manual_seed_all"):
        setattr(torch.cuda, name, lambda *_: None)
    torch.cuda.synchronize = lambda *_: gpu.note("wait: synchronize")
    torch.cuda.get_rng_state = lambda *_: torch.zeros(16, dtype=torch.uint8)
    run.usable_device = lambda: torch.device("cuda")
    _group_by_pretended_device()
    _load_weights_onto_gpu()
    _watch_phase(gpu, Loop, "_optimize", "step", failing=failing)
    from bench.evaluation import evaluate

    _watch_phase(gpu, evaluate, "_predict_batch", "evaluation")
    _Functions(gpu).__enter__()
    _Operations(gpu).__enter__()


def _watch_phase(gpu: PretendedGpu, owner: Any, name: str, phase: str, *, failing: bool = False) -> None:
    original: Callable[..., Any] = getattr(owner, name)

    def watched(*args: Any, **options: Any) -> Any:
        with gpu.during(phase):
            gpu.note("begins")
            if failing:
                _make_mistakes()
            return original(*args, **options)

    setattr(owner, name, watched)


def _make_mistakes() -> None:
    numbers = torch.ones(4, 4, device="cuda")
    numbers.mm(torch.ones(4, 4))
    float(numbers.sum())
    torch.histc(numbers)


def _group_by_pretended_device() -> None:
    """AdamW groups its tensors by device in C++, where no mode answers."""
    original = torch.optim.Optimizer._group_tensors_by_device_and_dtype

    def grouped(lists: Any, with_indices: bool = False) -> dict[Any, Any]:
        found = original(lists, with_indices)
        return {(GPU if is_on_gpu(group[0][0][0]) else key[0], key[1]): group for key, group in found.items()}

    torch.optim.Optimizer._group_tensors_by_device_and_dtype = staticmethod(grouped)


def _load_weights_onto_gpu() -> None:
    """PEFT reads an adapter straight onto the GPU, in code that no mode of PyTorch sees."""
    import safetensors.torch
    from peft.utils import save_and_load

    original = safetensors.torch.load_file

    def load_file(filename: Any, device: Any = "cpu", **options: Any) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = original(filename, device="cpu", **options)
        return {name: put_on(tensor, gpu=_is_gpu(device)) for name, tensor in tensors.items()}

    safetensors.torch.load_file = save_and_load.safe_load_file = load_file


def _is_device(value: Any) -> bool:
    kinds = ("cpu", "cuda", "meta")
    return isinstance(value, torch.device) or (isinstance(value, str) and value.partition(":")[0] in kinds)


def _is_gpu(value: Any) -> bool:
    return _is_device(value) and torch.device(value).type == "cuda"


def _on_host(value: Any) -> Any:
    return HOST if _is_gpu(value) else value

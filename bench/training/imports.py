"""The libraries of a cell without the parts of them that no cell uses: more than half of what a start would cost.

`import transformers` and `import peft` bring whatever is installed and could be of use to somebody: torch's compiler
(which they load to mark functions for it), scipy, scikit-learn, pandas, bitsandbytes. A process that only trains cells
calls `import_libraries` before anything else imports them: also without tensors spread over processes, and without the
compiled attention. No result depends on it: what is left out is never called, or is imported where it is called, as
scikit-learn is by the metrics that need it.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

_COMPILER = "torch._dynamo"
_ALONE = f"{_COMPILER}._trace_wrapped_higher_order_op"  # transformers takes a class from it; it needs no compiler


def import_libraries(*, quantized: bool) -> None:
    """Import torch, transformers, peft and pyarrow, and bitsandbytes where a cell's base is `quantized`.

    Without `quantized` bitsandbytes is absent for the rest of the process, and on a machine without a GPU torch's
    compiler is imported only when something asks for it. Does nothing where transformers or peft were imported before.
    """
    if "transformers" in sys.modules or "peft" in sys.modules:
        return
    if not quantized:
        sys.modules["bitsandbytes"] = None  # type: ignore[assignment]  # how Python says: not to be found
    import torch

    # a GPU's kernels may need the compiler, and its cells are long; counting leaves CUDA fit for forks
    if torch.cuda.device_count() == 0:
        _leave_out_compiler(Path(torch.__file__).parent)
    with _without("scipy", "sklearn"), _one_process(torch.distributed):
        import transformers.utils

        _scan_models_once(transformers.utils.import_utils)
        for module in (transformers.utils, transformers.utils.import_utils):
            module.is_torch_flex_attn_available = _no  # an attention that no backbone asks for brings sympy
        import peft  # noqa: F401
        import transformers.modeling_utils
    _settle_pyarrow()


class _Compiler(ModuleType):
    """In the place of torch._dynamo: marks functions for no compiler. The first to ask for more gets the real one."""

    def __init__(self, folder: Path) -> None:
        super().__init__(_COMPILER)
        self.__path__ = [str(folder)]
        self.allow_in_graph = self.assume_constant_result = self.disable = _as_it_is

    def __getattr__(self, wanted: str) -> Any:
        if wanted.startswith("__"):
            raise AttributeError(wanted)
        return getattr(_real_compiler(), wanted)


class _AskedForMore(MetaPathFinder):
    """Finds the modules of torch._dynamo while another stands in its place: those of the real one, imported first."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:  # noqa: ARG002
        stands_in = isinstance(sys.modules.get(_COMPILER), _Compiler)
        if not stands_in or not name.startswith(f"{_COMPILER}.") or name == _ALONE:
            return None
        _real_compiler()
        return spec_from_loader(name, _Loaded(importlib.import_module(name)))


class _Loaded(Loader):
    """Loads what is loaded."""

    def __init__(self, module: ModuleType) -> None:
        self.module, self.spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:  # noqa: ARG002 (the protocol)
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec


def _real_compiler() -> ModuleType:
    for name in (_COMPILER, f"{_COMPILER}.backends"):
        sys.modules.pop(name, None)
    return importlib.import_module(_COMPILER)


def _as_it_is(function: Any = None, *_: Any, **__: Any) -> Any:
    """A decorator, with arguments or without, that leaves the function alone."""
    return _as_it_is if function is None else function


def _leave_out_compiler(torch_folder: Path) -> None:
    if _COMPILER not in sys.modules:
        sys.modules[_COMPILER] = _Compiler(torch_folder / "_dynamo")
        sys.modules[f"{_COMPILER}.backends"] = None  # type: ignore[assignment]
        sys.meta_path.insert(0, _AskedForMore())


@contextmanager
def _without(*names: str) -> Iterator[None]:
    """Packages that are not imported yet can't be found while the block runs."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextmanager
def _one_process(distributed: Any) -> Iterator[None]:
    """torch.distributed counts as absent while the block runs: what asks in it leaves out tensors that are spread over
    processes, for good."""
    asked = distributed.is_available
    distributed.is_available = _no
    try:
        yield
    finally:
        distributed.is_available = asked


def _no() -> bool:
    return False


def _scan_models_once(import_utils: Any) -> None:
    """transformers reads the files of all its models twice, since it asks for their folder in two ways."""
    scan = import_utils.create_import_structure_from_path

    def scan_folder(path: str | Path) -> Any:
        return scan(Path(path).parent if Path(path).is_file() else Path(path))

    import_utils.create_import_structure_from_path = scan_folder


class _NoPandas(MetaPathFinder):
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:  # noqa: ARG002 (the protocol)
        if name == "pandas":
            raise ModuleNotFoundError(name)


def _settle_pyarrow() -> None:
    """pyarrow asks once, at its first array, whether there is pandas, and imports it; here there is none."""
    import pyarrow.parquet

    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pyarrow.array([0])
    finally:
        sys.meta_path.remove(finder)

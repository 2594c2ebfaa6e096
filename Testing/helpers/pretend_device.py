"""A pretend accelerator, for tests on machines that have none: `register()`, then `torch.device("pretend")`.

Its tensors hold CPU tensors and call the CPU's operations, but say that they lie on another device, and as with CUDA an
operation on tensors of both devices fails. It finds tensors left behind on, or made on, the wrong device. It computes
in float32 whatever autocast says, and says nothing about time or memory.

PyTorch's way to make a device in Python (`PrivateUse1`) is new and may change. Registering is for the whole process and
for good, so tests do it in one of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "pretend"
CPU = torch.device("cpu")
MOVES = {"aten::copy_", "aten::_copy_from", "aten::_to_copy"}  # from one device to the other
INDEXING = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}  # indices lie anywhere
RAN: Counter[str] = Counter()  # operations on tensors of the device, by name
_registered: list[torch.library.Library] = []


class PretendTensor(torch.Tensor):
    """`held` is the CPU tensor with the values."""

    held: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> PretendTensor:
        wrapper = torch.Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
            device=torch.device(NAME, 0))
        wrapper.held = held
        return wrapper

    def __repr__(self, **_: Any) -> str:
        return f"PretendTensor({self.held})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Sequence[Any] = (),
                           kwargs: Mapping[str, Any] | None = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """An operation on the held tensors; results are wrapped, those of operations in place are the arguments."""
    schema = func._schema
    on_device = _refuse_mixed(schema.name, args, kwargs)
    RAN[schema.name] += on_device
    device = kwargs.get("device")
    if device is not None:
        on_device = torch.device(device).type == NAME
        kwargs = {**kwargs, "device": CPU, **({"pin_memory": False} if "pin_memory" in kwargs else {})}
    results = func(*tree_map(_held, args), **tree_map(_held, dict(kwargs)))
    # An operation in place returns its own argument, which is wrapped already.
    written = [place for place, argument in enumerate(schema.arguments)
               if argument.alias_info is not None and argument.alias_info.is_write]
    if written and any(value.alias_info is not None and value.alias_info.is_write for value in schema.returns):
        changed = [args[place] if place < len(args) else kwargs[schema.arguments[place].name] for place in written]
        return changed[0] if len(schema.returns) == 1 else tuple(changed)
    return tree_map(_wrapped, results) if on_device else results


def _refuse_mixed(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether tensors of the device are among the arguments. Raises RuntimeError, as CUDA does, where CPU tensors
    other than single numbers are too."""
    # As with CUDA, indices may lie on the CPU.
    checked = args[:1] + args[2:] if name in INDEXING else args
    tensors = [leaf for leaf in tree_leaves((checked, dict(kwargs))) if isinstance(leaf, torch.Tensor)]
    on_cpu = [leaf for leaf in tensors if not isinstance(leaf, PretendTensor) and leaf.dim() > 0]
    on_device = any(isinstance(leaf, PretendTensor) for leaf in tree_leaves((args, dict(kwargs))))
    if on_device and on_cpu and name not in MOVES:
        raise RuntimeError(f"{name}: expected all tensors to be on the same device, found one of "
                           f"{tuple(on_cpu[0].shape)} on the CPU among those on {NAME}")
    return on_device


def _wrapped(value: Any) -> Any:
    return PretendTensor(value) if isinstance(value, torch.Tensor) else value


def _held(value: Any) -> Any:
    return value.held if isinstance(value, PretendTensor) else value


class _Module:
    """What PyTorch asks a device's module for."""

    def is_available(self) -> bool:
        return True

    is_initialized = is_available

    def _is_in_bad_fork(self) -> bool:
        return False

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    def get_rng_state(self, device: Any = None) -> torch.Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: torch.Tensor, device: Any = None) -> None:
        pass  # random numbers are the CPU's

    def manual_seed_all(self, seed: int) -> None:
        pass


def register() -> None:
    """Makes the device known to this process."""
    if _registered:
        return
    _setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
    library = torch.library.Library("aten", "IMPL")
    for name in torch._C._dispatch_get_all_op_names():
        operation = _makes_tensors(name)
        if operation is not None:
            library.impl(name.removeprefix("aten::"), _kernel(operation), "PrivateUse1")
    # Autocast has nothing to cast here: operations pass through it.
    library.impl("_copy_from", _copy_from, "PrivateUse1")
    anything = torch.library.Library("_", "IMPL")
    anything.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    _registered.extend([library, anything])  # they last as long as these objects


def _makes_tensors(name: str) -> Any:
    """The operation if it makes a tensor from none (empty, full, arange, ...): no tensor's class sees that."""
    composed = torch._C._dispatch_has_kernel_for_dispatch_key(name, "CompositeImplicitAutograd")  # of other operations
    if not name.startswith("aten::") or composed:
        return None
    packet, _, overload = name.removeprefix("aten::").partition(".")
    try:
        operation = getattr(getattr(torch.ops.aten, packet), overload or "default")
    except (AttributeError, RuntimeError):
        return None
    arguments, returns = operation._schema.arguments, operation._schema.returns
    takes_tensors = any("Tensor" in str(argument.type) for argument in arguments)
    if takes_tensors or not any(argument.name == "device" for argument in arguments):
        return None
    return operation if len(returns) == 1 and "Tensor" in str(returns[0].type) else None


def _kernel(operation: Any) -> Any:
    return lambda *args, **kwargs: _run(operation, args, kwargs)


def _copy_from(source: torch.Tensor, target: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
    _held(target).copy_(_held(source))
    return target

"""`import mamba_ssm` and `import causal_conv1d` on machines without CUDA, and transformers on the same functions."""
import importlib.util
import inspect
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Callable, Dict, List, Tuple

import torch

from .._library import version
from . import functions, modules

_SCAN = ("selective_scan_fn", "selective_scan_ref", "mamba_inner_fn")
_CONV = ("causal_conv1d_fn", "causal_conv1d_update")
_NORM = ("layer_norm_fn", "rms_norm_fn")

# name of the module: what can be imported from it
_LAYOUT: Dict[str, Tuple[str, ...]] = {
    "causal_conv1d": _CONV,
    "causal_conv1d.causal_conv1d_interface": _CONV,
    "mamba_ssm": ("selective_scan_fn", "mamba_inner_fn", "selective_state_update", "Mamba", "MambaLMHeadModel"),
    "mamba_ssm.ops": (),
    "mamba_ssm.ops.selective_scan_interface": _SCAN,
    "mamba_ssm.ops.triton": (),
    "mamba_ssm.ops.triton.selective_state_update": ("selective_state_update",),
    "mamba_ssm.ops.triton.layer_norm": (*_NORM, "RMSNorm"),
    "mamba_ssm.ops.triton.layernorm": (*_NORM, "RMSNorm"),
    "mamba_ssm.modules": (),
    "mamba_ssm.modules.mamba_simple": ("Mamba", "Block"),
    "mamba_ssm.modules.block": ("Block",),
    "mamba_ssm.models": (),
    "mamba_ssm.models.config_mamba": ("MambaConfig",),
    "mamba_ssm.models.mixer_seq_simple": ("MixerModel", "MambaLMHeadModel"),
    "mamba_ssm.utils": (),
    "mamba_ssm.utils.generation": ("InferenceParams",),
}

# What transformers' modeling files call these functions, and under which names they had them.
_TRANSFORMERS = ("transformers.models.mamba.modeling_mamba", "transformers.models.falcon_mamba.modeling_falcon_mamba")
_THEIR_NAMES: Dict[str, Callable[..., Any]] = {
    "causal_conv1d_fn": functions.causal_conv1d_fn,
    "causal_conv1d_update": functions.causal_conv1d_update,
    "mamba_inner_fn": functions.mamba_inner_fn,
    "mamba_selective_scan": functions.selective_scan_fn,
    "selective_scan_fn": functions.selective_scan_fn,
    "mamba_selective_state_update": functions.selective_state_update,
    "selective_state_update": functions.selective_state_update,
}

_absent = object()
_before: List[Tuple[Any, str, Any]] = []  # object, attribute or module name, what was there


def _put(target: Any, name: str, value: Any) -> None:
    if isinstance(target, dict):
        _before.append((target, name, target.get(name, _absent)))
        target[name] = value
    else:
        _before.append((target, name, getattr(target, name, _absent)))
        setattr(target, name, value)


def _module(name: str, names: Tuple[str, ...]) -> ModuleType:
    module = ModuleType(name, f"{name} of krait.torch, on the CPU")
    package = any(other.startswith(name + ".") for other in _LAYOUT)
    module.__spec__ = ModuleSpec(name, None, is_package=package)
    if package:
        module.__path__ = []
    setattr(module, "__version__", version() + "+krait")
    setattr(module, "__krait__", True)
    for one in names:
        setattr(module, one, getattr(functions, one, None) or getattr(modules, one))
    return module


def _tolerant(function: Callable[..., Any]) -> Callable[..., Any]:
    """Without the keyword arguments that it does not have: transformers passes options of its other paths along."""
    known = set(inspect.signature(function).parameters)

    def called(*arguments: Any, **more: Any) -> Any:
        return function(*arguments, **{k: v for k, v in more.items() if k in known})

    called.__name__, called.__doc__ = function.__name__, function.__doc__
    return called


def _patch_transformers(module: ModuleType) -> None:
    for name, function in _THEIR_NAMES.items():
        if hasattr(module, name):
            _put(module, name, _tolerant(function))
    # Up to version 4 the mixers ask for a CUDA device before they take the fast functions.
    if hasattr(module, "is_fast_path_available"):
        _put(module, "is_fast_path_available", True)
    for mixer in (getattr(module, "MambaMixer", None), getattr(module, "FalconMambaMixer", None)):
        fast = getattr(mixer, "cuda_kernels_forward", None)
        if mixer is not None and fast is not None:
            _put(mixer, "forward", fast)


class _Watcher:
    """Patches transformers' files when they are imported later."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name not in _TRANSFORMERS:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        if spec is None or spec.loader is None:
            return spec
        loader: Any = spec.loader
        run = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            if _before:
                _patch_transformers(module)

        loader.exec_module = exec_module
        return spec


_watcher = _Watcher()


def install(force: bool = False) -> bool:
    """Makes `import mamba_ssm` and `import causal_conv1d`, with the submodules that people import, resolve to krait.torch, and transformers' Mamba and
    Falcon-Mamba use it, whether they were imported before or are later. Does nothing, and returns False, where CUDA is
    available and the real packages may be wanted, unless `force`. uninstall() takes all of it back."""
    if _before:
        return True
    if torch.cuda.is_available() and not force:
        return False
    for name, names in _LAYOUT.items():
        _put(sys.modules, name, _module(name, names))
    for name in _LAYOUT:
        parent, _, own = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], own, sys.modules[name])
    sys.meta_path.insert(0, _watcher)
    for name in _TRANSFORMERS:
        if name in sys.modules:
            _patch_transformers(sys.modules[name])
    return True


def uninstall() -> None:
    """As it was before install()."""
    if _watcher in sys.meta_path:
        sys.meta_path.remove(_watcher)
    while _before:
        target, name, value = _before.pop()
        if isinstance(target, dict):
            if value is _absent:
                target.pop(name, None)
            else:
                target[name] = value
        elif value is _absent:
            delattr(target, name)
        else:
            setattr(target, name, value)

"""Mamba as modules, with mamba_ssm's arguments and state_dict: Mamba, Block, MixerModel, MambaLMHeadModel."""
import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple, Union

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from .. import errors
from .functions import (causal_conv1d_fn, causal_conv1d_update, layer_norm_fn, mamba_inner_fn, selective_scan_fn,
                        selective_state_update)


@dataclass
class InferenceParams:
    """What a model remembers between calls of generation; key_value_memory_dict: layer_idx -> (conv_state, ssm_state)."""

    max_seqlen: int
    max_batch_size: int
    seqlen_offset: int = 0
    batch_size_offset: int = 0
    key_value_memory_dict: Dict[int, Tuple[Tensor, Tensor]] = field(default_factory=dict)
    lengths_per_sample: Optional[Tensor] = None

    def reset(self, max_seqlen: int, max_batch_size: int) -> None:
        self.max_seqlen, self.max_batch_size, self.seqlen_offset = max_seqlen, max_batch_size, 0
        self.key_value_memory_dict.clear()


class Mamba(nn.Module):
    """The mixer: x [batch, length, d_model] to the same shape. Initialised as in the paper: A_log = log(1..d_state), D = 1, dt_proj's bias the inverse of
    softplus of steps drawn log-uniformly from dt_min to dt_max."""

    def __init__(self, d_model: int, d_state: int = 16, d_conv: int = 4, expand: int = 2, dt_rank: Union[int, str] = "auto",
                 dt_min: float = 0.001, dt_max: float = 0.1, dt_init: str = "random", dt_scale: float = 1.0, dt_init_floor: float = 1e-4,
                 conv_bias: bool = True, bias: bool = False, use_fast_path: bool = True, layer_idx: Optional[int] = None,
                 device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        made = {"device": device, "dtype": dtype}
        self.d_model, self.d_state, self.d_conv, self.expand = d_model, d_state, d_conv, expand
        self.d_inner = int(expand * d_model)
        self.dt_rank = math.ceil(d_model / 16) if dt_rank == "auto" else int(dt_rank)
        self.use_fast_path, self.layer_idx, self.activation = use_fast_path, layer_idx, "silu"
        self.in_proj = nn.Linear(d_model, 2 * self.d_inner, bias=bias, **made)
        self.conv1d = nn.Conv1d(self.d_inner, self.d_inner, d_conv, bias=conv_bias, groups=self.d_inner, padding=d_conv - 1, **made)
        self.x_proj = nn.Linear(self.d_inner, self.dt_rank + 2 * d_state, bias=False, **made)
        self.dt_proj = nn.Linear(self.dt_rank, self.d_inner, bias=True, **made)
        spread = self.dt_rank**-0.5 * dt_scale
        if dt_init == "constant":
            nn.init.constant_(self.dt_proj.weight, spread)
        elif dt_init == "random":
            nn.init.uniform_(self.dt_proj.weight, -spread, spread)
        else:
            raise errors.ArgumentError(f"dt_init: expected constant or random, found {dt_init!r}")
        dt = torch.exp(torch.rand(self.d_inner, device=device) * (math.log(dt_max) - math.log(dt_min)) + math.log(dt_min))
        dt = dt.clamp(min=dt_init_floor)
        with torch.no_grad():
            self.dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))
        self.A_log = nn.Parameter(torch.log(torch.arange(1, d_state + 1, dtype=torch.float32, device=device)).repeat(self.d_inner, 1))
        self.D = nn.Parameter(torch.ones(self.d_inner, device=device))
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=bias, **made)
        for parameter, name in ((self.dt_proj.bias, "_no_reinit"), (self.A_log, "_no_weight_decay"), (self.D, "_no_weight_decay")):
            setattr(parameter, name, True)  # what trainers look for

    def forward(self, hidden_states: Tensor, inference_params: Optional[InferenceParams] = None) -> Tensor:
        """hidden_states [batch, length, d_model]. With inference_params the states of this layer go on from where they were."""
        if hidden_states.dim() != 3 or hidden_states.shape[2] != self.d_model:
            raise errors.ArgumentError(f"hidden_states: expected [batch, length, {self.d_model}], found {list(hidden_states.shape)}")
        xz = self.in_proj(hidden_states).transpose(1, 2)
        A = -torch.exp(self.A_log.float())
        if inference_params is None:
            return mamba_inner_fn(xz, self.conv1d.weight, self.conv1d.bias, self.x_proj.weight, self.dt_proj.weight, self.out_proj.weight,
                                  self.out_proj.bias, A, None, None, self.D.float(), delta_bias=self.dt_proj.bias.float(),
                                  delta_softplus=True)
        conv_state, ssm_state = self._get_states_from_cache(inference_params, hidden_states.shape[0])
        if inference_params.seqlen_offset > 0 and hidden_states.shape[1] == 1:
            return self.step(hidden_states, conv_state, ssm_state)[0]
        x, z = xz.chunk(2, dim=1)
        seen = conv_state[:, :, 1:].clone() if inference_params.seqlen_offset > 0 else None
        whole = x if seen is None else torch.cat([seen.to(x.dtype), x], 2)
        conv_state.copy_(F.pad(whole, (self.d_conv - whole.shape[-1], 0)))
        x = causal_conv1d_fn(x, self.conv1d.weight.squeeze(1), self.conv1d.bias, initial_states=seen, activation="silu")
        dt, B, C = self.x_proj(x.transpose(1, 2)).split([self.dt_rank, self.d_state, self.d_state], dim=-1)
        delta = F.linear(dt, self.dt_proj.weight).transpose(1, 2)
        y, last = selective_scan_fn(x, delta, A, B.transpose(1, 2), C.transpose(1, 2), self.D.float(), z, self.dt_proj.bias.float(), True, True,
                                    initial_state=ssm_state.clone() if inference_params.seqlen_offset > 0 else None)
        ssm_state.copy_(last)
        out: Tensor = self.out_proj(y.transpose(1, 2))
        return out

    def step(self, hidden_states: Tensor, conv_state: Tensor, ssm_state: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        """One token, [batch, 1, d_model]; the states [batch, d_inner, d_conv] and [batch, d_inner, d_state] are updated in place."""
        if hidden_states.shape[1] != 1:
            raise errors.ArgumentError(f"hidden_states: expected one token, [batch, 1, d_model], found {list(hidden_states.shape)}")
        with torch.no_grad():
            x, z = self.in_proj(hidden_states[:, 0]).chunk(2, dim=-1)
            x = causal_conv1d_update(x, conv_state, self.conv1d.weight.squeeze(1), self.conv1d.bias, "silu")
            dt, B, C = self.x_proj(x).split([self.dt_rank, self.d_state, self.d_state], dim=-1)
            dt = F.linear(dt, self.dt_proj.weight)
            y = selective_state_update(ssm_state, x, dt, -torch.exp(self.A_log.float()), B, C, self.D, z, self.dt_proj.bias, True)
            return self.out_proj(y)[:, None], conv_state, ssm_state

    def allocate_inference_cache(self, batch_size: int, max_seqlen: int, dtype: Any = None, **_: Any) -> Tuple[Tensor, Tensor]:
        """New states, zero; their size does not depend on max_seqlen."""
        weight = self.in_proj.weight
        return (torch.zeros(batch_size, self.d_inner, self.d_conv, device=weight.device, dtype=dtype or self.conv1d.weight.dtype),
                torch.zeros(batch_size, self.d_inner, self.d_state, device=weight.device, dtype=torch.float32))

    def _get_states_from_cache(self, inference_params: InferenceParams, batch_size: int) -> Tuple[Tensor, Tensor]:
        if self.layer_idx is None:
            raise errors.ArgumentError("layer_idx: expected a number for inference, found None")
        known = inference_params.key_value_memory_dict
        if self.layer_idx not in known:
            known[self.layer_idx] = self.allocate_inference_cache(batch_size, 0)
        return known[self.layer_idx]


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight, with a residual to add first, as mamba_ssm has it."""

    def __init__(self, hidden_size: int, eps: float = 1e-5, dropout_p: float = 0.0, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        if dropout_p:
            raise errors.UnsupportedError(f"dropout_p: expected 0, found {dropout_p}: not supported")
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(hidden_size, device=device, dtype=dtype))
        self.register_parameter("bias", None)

    def forward(self, x: Tensor, residual: Optional[Tensor] = None, prenorm: bool = False, residual_in_fp32: bool = False) -> Any:
        return layer_norm_fn(x, self.weight, None, residual, eps=self.eps, prenorm=prenorm, residual_in_fp32=residual_in_fp32, is_rms_norm=True)


class Block(nn.Module):
    """Add, norm, mix: takes and gives (hidden_states, residual)."""

    def __init__(self, dim: int, mixer_cls: Any, mlp_cls: Any = nn.Identity, norm_cls: Any = RMSNorm, fused_add_norm: bool = False,
                 residual_in_fp32: bool = False) -> None:
        super().__init__()
        if mlp_cls is not nn.Identity:
            raise errors.UnsupportedError("mlp_cls: expected nn.Identity: Mamba-1 has no MLP")
        self.residual_in_fp32, self.fused_add_norm = residual_in_fp32, fused_add_norm
        self.mixer: Any = mixer_cls(dim)
        self.norm: Any = norm_cls(dim)

    def forward(self, hidden_states: Tensor, residual: Optional[Tensor] = None, inference_params: Optional[InferenceParams] = None,
                **_: Any) -> Tuple[Tensor, Tensor]:
        hidden_states, residual = layer_norm_fn(hidden_states, self.norm.weight, getattr(self.norm, "bias", None), residual,
                                                eps=self.norm.eps, prenorm=True, residual_in_fp32=self.residual_in_fp32,
                                                is_rms_norm=isinstance(self.norm, RMSNorm))
        return self.mixer(hidden_states, inference_params=inference_params), residual

    def allocate_inference_cache(self, batch_size: int, max_seqlen: int, dtype: Any = None, **more: Any) -> Any:
        return self.mixer.allocate_inference_cache(batch_size, max_seqlen, dtype=dtype, **more)


@dataclass
class MambaConfig:
    """mamba_ssm's config.json."""

    d_model: int = 2560
    d_intermediate: int = 0
    n_layer: int = 64
    vocab_size: int = 50277
    ssm_cfg: Dict[str, Any] = field(default_factory=dict)
    attn_layer_idx: List[int] = field(default_factory=list)
    attn_cfg: Dict[str, Any] = field(default_factory=dict)
    rms_norm: bool = True
    residual_in_fp32: bool = True
    fused_add_norm: bool = True
    pad_vocab_size_multiple: int = 8
    tie_embeddings: bool = True


class MixerModel(nn.Module):
    """Embedding, blocks, a last norm: input_ids [batch, length] to [batch, length, d_model]."""

    def __init__(self, d_model: int, n_layer: int, d_intermediate: int, vocab_size: int, ssm_cfg: Optional[Dict[str, Any]] = None,
                 attn_layer_idx: Any = None, attn_cfg: Any = None, norm_epsilon: float = 1e-5, rms_norm: bool = False,
                 initializer_cfg: Optional[Dict[str, Any]] = None, fused_add_norm: bool = False, residual_in_fp32: bool = False,
                 device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        if d_intermediate or attn_layer_idx:
            raise errors.UnsupportedError("d_intermediate, attn_layer_idx: expected none: Mamba-1 has neither MLPs nor attention")
        more = dict(ssm_cfg or {})
        layer = more.pop("layer", "Mamba1")
        if layer != "Mamba1":
            raise errors.UnsupportedError(f"ssm_cfg.layer: expected Mamba1, found {layer!r}")
        made = {"device": device, "dtype": dtype}
        self.residual_in_fp32, self.fused_add_norm = residual_in_fp32, fused_add_norm
        self.embedding: Any = nn.Embedding(vocab_size, d_model, **made)

        def norm(dim: int) -> nn.Module:
            return RMSNorm(dim, eps=norm_epsilon, **made) if rms_norm else nn.LayerNorm(dim, eps=norm_epsilon, **made)

        self.layers: Any = nn.ModuleList([
            Block(d_model, lambda dim, i=i: Mamba(dim, layer_idx=i, **more, **made), norm_cls=norm, fused_add_norm=fused_add_norm,
                  residual_in_fp32=residual_in_fp32) for i in range(n_layer)])
        self.norm_f: Any = norm(d_model)
        _initialise(self, n_layer, **(initializer_cfg or {}))

    def forward(self, input_ids: Tensor, inference_params: Optional[InferenceParams] = None, **_: Any) -> Tensor:
        hidden_states, residual = self.embedding(input_ids), None
        for layer in self.layers:
            hidden_states, residual = layer(hidden_states, residual, inference_params=inference_params)
        out: Tensor = layer_norm_fn(hidden_states, self.norm_f.weight, getattr(self.norm_f, "bias", None), residual, eps=self.norm_f.eps,
                                    residual_in_fp32=self.residual_in_fp32, is_rms_norm=isinstance(self.norm_f, RMSNorm))
        return out

    def allocate_inference_cache(self, batch_size: int, max_seqlen: int, dtype: Any = None, **more: Any) -> Dict[int, Any]:
        return {i: layer.allocate_inference_cache(batch_size, max_seqlen, dtype=dtype, **more) for i, layer in enumerate(self.layers)}


@torch.no_grad()
def _initialise(model: nn.Module, n_layer: int, initializer_range: float = 0.02, rescale_prenorm_residual: bool = True,
                n_residuals_per_layer: int = 1) -> None:
    """Embeddings normal, biases zero, out_proj divided by the square root of the number of layers (as GPT-2)."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            if module.bias is not None and not getattr(module.bias, "_no_reinit", False):
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=initializer_range)
    if rescale_prenorm_residual:
        for name, parameter in model.named_parameters():
            if name.endswith("out_proj.weight"):
                nn.init.kaiming_uniform_(parameter, a=math.sqrt(5))
                parameter.div_(math.sqrt(n_residuals_per_layer * n_layer))


class _Output(tuple):  # type: ignore[type-arg]
    """A tuple of one, whose element is also .logits."""

    @property
    def logits(self) -> Tensor:
        value: Tensor = self[0]
        return value


class MambaLMHeadModel(nn.Module):
    """The language model: input_ids [batch, length] to .logits [batch, length, vocab_size]."""

    def __init__(self, config: MambaConfig, initializer_cfg: Optional[Dict[str, Any]] = None, device: Any = None, dtype: Any = None) -> None:
        super().__init__()
        self.config = config
        multiple = config.pad_vocab_size_multiple
        vocab = (config.vocab_size + multiple - 1) // multiple * multiple
        self.backbone = MixerModel(config.d_model, config.n_layer, config.d_intermediate, vocab, config.ssm_cfg, config.attn_layer_idx,
                                   config.attn_cfg, rms_norm=config.rms_norm, initializer_cfg=initializer_cfg,
                                   fused_add_norm=config.fused_add_norm, residual_in_fp32=config.residual_in_fp32, device=device, dtype=dtype)
        self.lm_head = nn.Linear(config.d_model, vocab, bias=False, device=device, dtype=dtype)
        self.tie_weights()

    def tie_weights(self) -> None:
        if self.config.tie_embeddings:
            self.lm_head.weight = self.backbone.embedding.weight

    def allocate_inference_cache(self, batch_size: int, max_seqlen: int, dtype: Any = None, **more: Any) -> Dict[int, Any]:
        return self.backbone.allocate_inference_cache(batch_size, max_seqlen, dtype=dtype, **more)

    def forward(self, input_ids: Tensor, position_ids: Any = None, inference_params: Optional[InferenceParams] = None,
                num_last_tokens: int = 0, **_: Any) -> _Output:
        hidden_states = self.backbone(input_ids, inference_params=inference_params)
        if num_last_tokens > 0:
            hidden_states = hidden_states[:, -num_last_tokens:]
        return _Output((self.lm_head(hidden_states),))

    @torch.no_grad()
    def generate(self, input_ids: Tensor, max_length: int, top_k: int = 1, top_p: float = 0.0, temperature: float = 1.0,
                 eos_token_id: Optional[int] = None, generator: Optional[torch.Generator] = None) -> Tensor:
        """input_ids [batch, n] continued to at most max_length tokens, [batch, length]: top_k=1 greedy, else drawn from the top_k (0: all), of them the
        fewest with a probability of top_p (0: all)."""
        params = InferenceParams(max_length, input_ids.shape[0])
        ended = torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)
        result, step = input_ids, input_ids
        while result.shape[1] < max_length and not bool(ended.all()):
            logits = self(step, inference_params=params, num_last_tokens=1).logits[:, -1].float()
            params.seqlen_offset += step.shape[1]
            step = _draw(logits, top_k, top_p, temperature, generator)
            if eos_token_id is not None:
                step = torch.where(ended, torch.full_like(step, eos_token_id), step)
                ended |= step == eos_token_id
            step = step[:, None]
            result = torch.cat([result, step], 1)
        return result

    @classmethod
    def from_pretrained(cls, path: Any, device: Any = None, dtype: Any = None, **more: Any) -> "MambaLMHeadModel":
        """A folder with config.json and pytorch_model.bin (of which tensors alone are read) or model.safetensors (needs the package safetensors), of mamba_ssm or
        of Hugging Face; or OWNER/NAME of the hub."""
        from ..model import locate

        folder = Path(locate(path))
        config = _config_of(json.loads((folder / "config.json").read_text("utf-8")))
        weights: Dict[str, Tensor]
        if (folder / "model.safetensors").exists():
            try:
                from safetensors.torch import load_file
            except ImportError:
                raise errors.UnsupportedError(f"{folder}: reading model.safetensors needs the package safetensors") from None
            weights = load_file(str(folder / "model.safetensors"))
        else:
            weights = torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
        weights = {name.replace("backbone.embeddings.", "backbone.embedding."): value for name, value in weights.items()}
        config.vocab_size = weights["backbone.embedding.weight"].shape[0]
        model = cls(config, device=device, dtype=dtype, **more)
        if config.tie_embeddings:
            weights.setdefault("lm_head.weight", weights["backbone.embedding.weight"])
        model.load_state_dict(weights)
        return model

    def save_pretrained(self, folder: Any) -> None:
        """config.json and pytorch_model.bin, in mamba_ssm's layout, which krait loads, too."""
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        torch.save(self.state_dict(), place / "pytorch_model.bin")
        (place / "config.json").write_text(json.dumps(asdict(self.config), indent=4))


def _draw(logits: Tensor, top_k: int, top_p: float, temperature: float, generator: Optional[torch.Generator]) -> Tensor:
    if top_k == 1:
        return logits.argmax(-1)
    logits = logits / temperature
    if top_k > 0:
        least = logits.topk(min(top_k, logits.shape[-1]))[0][:, -1:]
        logits = logits.masked_fill(logits < least, -math.inf)
    if 0.0 < top_p < 1.0:
        ordered, places = logits.sort(descending=True)
        before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
        logits = logits.masked_fill((before >= top_p).scatter(1, places, before >= top_p), -math.inf)
    return torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]


def _config_of(found: Dict[str, Any]) -> MambaConfig:
    """A config.json of mamba_ssm's, or of Hugging Face's for the same model."""
    if "d_model" in found and "hidden_size" not in found:
        known = {k: v for k, v in found.items() if k in MambaConfig.__dataclass_fields__}
        return MambaConfig(**known)
    ssm = {"d_state": found.get("state_size", 16), "d_conv": found.get("conv_kernel", 4), "expand": found.get("expand", 2),
           "dt_rank": found.get("time_step_rank", "auto"), "conv_bias": found.get("use_conv_bias", True), "bias": found.get("use_bias", False)}
    return MambaConfig(d_model=found["hidden_size"], n_layer=found["num_hidden_layers"], vocab_size=found["vocab_size"], ssm_cfg=ssm,
                       residual_in_fp32=found.get("residual_in_fp32", True), tie_embeddings=found.get("tie_word_embeddings", True),
                       pad_vocab_size_multiple=1)

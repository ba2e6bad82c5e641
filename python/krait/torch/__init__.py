"""krait.torch: mamba_ssm's and causal_conv1d's functions and modules for PyTorch on the CPU, with autograd, whatever the version of torch.

    from krait.torch import selective_scan_fn, Mamba
    import krait.torch; krait.torch.install()        # import mamba_ssm, import causal_conv1d and transformers use them
"""
from .functions import (causal_conv1d_fn, causal_conv1d_update, layer_norm_fn, mamba_inner_fn, rms_norm_fn, selective_scan_fn,
                        selective_scan_ref, selective_state_update)
from .install import install, uninstall
from .modules import Block, InferenceParams, Mamba, MambaConfig, MambaLMHeadModel, MixerModel, RMSNorm

__all__ = ["Block", "InferenceParams", "Mamba", "MambaConfig", "MambaLMHeadModel", "MixerModel", "RMSNorm", "install", "uninstall",
           "causal_conv1d_fn", "causal_conv1d_update", "layer_norm_fn", "mamba_inner_fn", "rms_norm_fn", "selective_scan_fn",
           "selective_scan_ref", "selective_state_update"]

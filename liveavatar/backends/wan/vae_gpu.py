"""The Wan VAE laid out as a GPU likes it: the same numbers in fewer passes over memory.

diffusers writes every convolution's input twice more than it needs to: padded, and turned to channels last and back,
as the GPU's convolutions want it. Here channels stay last, convolutions pad for themselves, and norm and activation are
one pass. Nothing has to be compiled first.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liveavatar.backends.wan.launch import HAS_TRITON

if TYPE_CHECKING:
    from diffusers import AutoencoderKLWan
    from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d, WanRMS_norm


class NormSilu(nn.Module):
    """diffusers' WanRMS_norm and the SiLU after it."""

    def __init__(self, norm: WanRMS_norm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """Normalise and activate (B, C, F, H, W)"""
        if not (HAS_TRITON and x.is_cuda and x.dtype == torch.bfloat16):
            return F.silu(self.norm(x))
        from liveavatar.backends.wan.norm_kernel import norm_silu

        return norm_silu(x, self.norm.gamma.flatten(), self.norm.scale)


def causal_conv(conv: WanCausalConv3d, x: Tensor, before: Tensor | None = None) -> Tensor:
    """Do what WanCausalConv3d.forward does, but the convolution itself pads rows and columns."""
    columns, _, rows, _, missing, _ = conv._padding
    if before is not None and missing:
        x, missing = torch.cat([before, x], 2), missing - before.shape[2]
    if missing:
        x = F.pad(x, (0, 0, 0, 0, missing, 0))
    return F.conv3d(x, conv.weight, conv.bias, conv.stride, (0, rows, columns))


def suit_gpu(vae: AutoencoderKLWan) -> AutoencoderKLWan:
    """Change a VAE in place. Its weights keep their values, but not all of them their names."""
    from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d, WanRMS_norm, WanUpsample

    for module in list(vae.modules()):
        if isinstance(module, nn.Conv3d | nn.Conv2d):
            last = torch.channels_last_3d if isinstance(module, nn.Conv3d) else torch.channels_last
            module.weight.data = module.weight.data.contiguous(memory_format=last)
        if isinstance(module, WanCausalConv3d):
            module.forward = partial(causal_conv, module)
        elif isinstance(module, WanUpsample):
            module.forward = partial(nn.Upsample.forward, module)          # of nearest neighbours: nothing is rounded
        elif isinstance(getattr(module, "nonlinearity", None), nn.SiLU):   # always behind a norm
            module.nonlinearity = nn.Identity()
            for name, part in list(module.named_children()):
                if isinstance(part, WanRMS_norm):
                    setattr(module, name, NormSilu(part))
    return vae

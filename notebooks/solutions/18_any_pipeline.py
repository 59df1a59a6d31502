"""Solutions of 18_any_pipeline; alone: python notebooks/solutions/18_any_pipeline.py"""

from unittest.mock import MagicMock

import torch
from diffusers import (
    AutoencoderKLWan,
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
    WanPipeline,
    WanTransformer3DModel,
)

import liveavatar
from liveavatar.lessons import check

# The lesson's pipeline: random weights, the smallest size
torch.manual_seed(0)
network = WanTransformer3DModel(num_attention_heads=2, attention_head_dim=24, text_dim=16, ffn_dim=64, num_layers=4)
pipe = WanPipeline(None, None, AutoencoderKLWan(base_dim=4, num_res_blocks=1),
                   FlowMatchEulerDiscreteScheduler(shift=3.0), network)
pipe.set_progress_bar_config(disable=True)
words = torch.randn(1, 8, 16, generator=torch.Generator().manual_seed(1))
call = dict(prompt_embeds=words, height=64, width=96, num_frames=9, num_inference_steps=5, guidance_scale=1.0)

# network-calls: twice a step with guidance
counter = MagicMock(return_value=None)
hook = network.register_forward_hook(counter)
with liveavatar.watch(pipe) as run:
    pipe(**call | dict(guidance_scale=5.0, negative_prompt_embeds=torch.zeros_like(words)))
hook.remove()
answer = counter.call_count
print(check("network-calls", answer))

# last-shares: from the last but one noise level down to 0
pipe.scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
with liveavatar.watch(pipe) as other:
    pipe(**call)
answer = run.info.sigmas[-2], other.info.sigmas[-2]
print(check("last-shares", answer))

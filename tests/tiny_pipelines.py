"""Seven diffusers pipelines of the smallest width, untrained, from configurations: no download, no text encoder.

    pipe, call = TINY_PIPELINES["wan"]()
    pipe(**call, num_inference_steps=3)         # call: embeddings instead of words, the smallest size

Weights are random and always the same.
"""

from collections.abc import Callable
from functools import wraps

import torch
from PIL import Image

Made = tuple[object, dict]
TINY_PIPELINES: dict[str, Callable[[], Made]] = {}
WIDTH = 8                                          # of a text embedding
PICTURE_VAE = dict(block_out_channels=(4, 4), down_block_types=("DownEncoderBlock2D",) * 2,
                   up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=2, layers_per_block=1, sample_size=16)


def tiny(build: Callable[[], Made]) -> Callable[[], Made]:
    """Build with seeded weights and no progress bar."""
    @wraps(build)
    def seeded() -> Made:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            pipe, call = build()
        pipe.set_progress_bar_config(disable=True)
        return pipe, call

    TINY_PIPELINES[build.__name__.removesuffix("_pipeline")] = seeded
    return seeded


def words(tokens: int = 4, width: int = WIDTH) -> torch.Tensor:
    """Stand in for the embedding of a prompt: (1, tokens, width)."""
    return torch.randn(1, tokens, width, generator=torch.Generator().manual_seed(1))


def no_text(*names: str) -> dict[str, None]:
    return dict.fromkeys(names or ("text_encoder", "tokenizer"))


def wan_parts(channels: int) -> dict:
    from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, WanTransformer3DModel

    vae = AutoencoderKLWan(base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1,
                           temperal_downsample=[False, True, True])
    transformer = WanTransformer3DModel(num_attention_heads=1, attention_head_dim=12, in_channels=channels,
                                        text_dim=WIDTH, freq_dim=8, ffn_dim=8, num_layers=1, rope_max_seq_len=32)
    return {"vae": vae, "transformer": transformer, "scheduler": FlowMatchEulerDiscreteScheduler(shift=3.0)}


@tiny
def wan_pipeline() -> Made:
    from diffusers import WanPipeline

    call = {"prompt_embeds": words(), "height": 16, "width": 32, "num_frames": 5, "guidance_scale": 1.0}
    return WanPipeline(**no_text(), **wan_parts(16)), call


@tiny
def wan_image_to_video_pipeline() -> Made:
    from diffusers import WanImageToVideoPipeline

    image = Image.new("RGB", (32, 16), (200, 80, 40))
    call = {"image": image, "prompt_embeds": words(), "height": 16, "width": 32, "num_frames": 5, "guidance_scale": 1.0}
    return WanImageToVideoPipeline(**no_text(), **wan_parts(36)), call


@tiny
def ltx_pipeline() -> Made:
    from diffusers import (
        AutoencoderKLLTXVideo,
        FlowMatchEulerDiscreteScheduler,
        LTXPipeline,
        LTXVideoTransformer3DModel,
    )

    vae = AutoencoderKLLTXVideo(
        latent_channels=4, block_out_channels=(4, 4), decoder_block_out_channels=(4, 4), layers_per_block=(1, 1, 1),
        decoder_layers_per_block=(1, 1, 1), down_block_types=("LTXVideoDownBlock3D",) * 2,
        spatio_temporal_scaling=(True, False), decoder_spatio_temporal_scaling=(True, False), patch_size=2,
        decoder_inject_noise=(False,) * 3, downsample_type=("conv", "conv"), upsample_residual=(False, False),
        upsample_factor=(1, 1), scaling_factor=1.0)
    vae.use_framewise_encoding = vae.use_framewise_decoding = False
    transformer = LTXVideoTransformer3DModel(in_channels=4, out_channels=4, num_attention_heads=1, num_layers=1,
                                             attention_head_dim=12, cross_attention_dim=12, caption_channels=WIDTH)
    pipe = LTXPipeline(**no_text(), vae=vae, transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler())
    return pipe, {"prompt_embeds": words(), "prompt_attention_mask": torch.ones(1, 4), "height": 32, "width": 64,
                  "num_frames": 5, "guidance_scale": 1.0}


@tiny
def cogvideox_pipeline() -> Made:
    from diffusers import (
        AutoencoderKLCogVideoX,
        CogVideoXDDIMScheduler,
        CogVideoXPipeline,
        CogVideoXTransformer3DModel,
    )

    vae = AutoencoderKLCogVideoX(
        block_out_channels=(4, 4, 4, 4), latent_channels=4, layers_per_block=1, norm_num_groups=2,
        down_block_types=("CogVideoXDownBlock3D",) * 4, up_block_types=("CogVideoXUpBlock3D",) * 4)
    transformer = CogVideoXTransformer3DModel(
        num_attention_heads=1, attention_head_dim=16, in_channels=4, out_channels=4, time_embed_dim=4,
        text_embed_dim=WIDTH, num_layers=1, sample_width=4, sample_height=2, sample_frames=9, max_text_seq_length=4,
        use_rotary_positional_embeddings=True)
    scheduler = CogVideoXDDIMScheduler(prediction_type="v_prediction", timestep_spacing="trailing",
                                       rescale_betas_zero_snr=True, snr_shift_scale=3.0)
    pipe = CogVideoXPipeline(**no_text(), vae=vae, transformer=transformer, scheduler=scheduler)
    return pipe, {"prompt_embeds": words(), "height": 16, "width": 32, "num_frames": 9, "guidance_scale": 1.0}


@tiny
def stable_diffusion_3_pipeline() -> Made:
    from diffusers import (
        AutoencoderKL,
        FlowMatchEulerDiscreteScheduler,
        SD3Transformer2DModel,
        StableDiffusion3Pipeline,
    )

    vae = AutoencoderKL(**PICTURE_VAE, latent_channels=4, scaling_factor=1.5, shift_factor=0.06,
                        use_quant_conv=False, use_post_quant_conv=False)
    transformer = SD3Transformer2DModel(
        sample_size=8, in_channels=4, out_channels=4, num_layers=1, attention_head_dim=8, num_attention_heads=1,
        joint_attention_dim=WIDTH, caption_projection_dim=8, pooled_projection_dim=WIDTH, pos_embed_max_size=8)
    three = [f"{part}{number}" for part in ("text_encoder", "tokenizer") for number in ("", "_2", "_3")]
    pipe = StableDiffusion3Pipeline(**no_text(*three), vae=vae, transformer=transformer,
                                    scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0))
    return pipe, {"prompt_embeds": words(), "pooled_prompt_embeds": words()[:, 0], "height": 16, "width": 16,
                  "guidance_scale": 1.0}


@tiny
def flux_pipeline() -> Made:
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    vae = AutoencoderKL(**PICTURE_VAE, latent_channels=4, scaling_factor=0.36, shift_factor=0.12,
                        use_quant_conv=False, use_post_quant_conv=False)
    transformer = FluxTransformer2DModel(in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16,
                                         num_attention_heads=1, joint_attention_dim=WIDTH,
                                         pooled_projection_dim=WIDTH, axes_dims_rope=(4, 4, 8))
    two = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
    pipe = FluxPipeline(**no_text(*two), vae=vae, transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler())
    return pipe, {"prompt_embeds": words(), "pooled_prompt_embeds": words()[:, 0], "height": 16, "width": 24}


@tiny
def stable_diffusion_xl_pipeline() -> Made:
    from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel

    unet = UNet2DConditionModel(
        block_out_channels=(4, 4), layers_per_block=1, sample_size=8, in_channels=4, out_channels=4, norm_num_groups=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=2, cross_attention_dim=WIDTH, addition_embed_type="text_time", addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=6 * 4 + WIDTH, use_linear_projection=True)
    two = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
    pipe = StableDiffusionXLPipeline(**no_text(*two), vae=AutoencoderKL(**PICTURE_VAE, latent_channels=4,
                                                                       scaling_factor=0.13),
                                     unet=unet, scheduler=EulerDiscreteScheduler(beta_schedule="scaled_linear"))
    return pipe, {"prompt_embeds": words(), "pooled_prompt_embeds": words()[:, 0], "height": 16, "width": 16,
                  "guidance_scale": 1.0}

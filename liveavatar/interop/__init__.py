"""Bridges to diffusers, in both directions: `watch` records any of its pipelines as a run, `LiveAvatarPipeline` is one."""

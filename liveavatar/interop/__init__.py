"""Connect diffusers in both directions: `watch` records its pipelines as runs, `LiveAvatarPipeline` is one of them."""

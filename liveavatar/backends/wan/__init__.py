"""wan-s2v-14b: the released Live Avatar, its public checkpoints read as they are downloaded.

    checkpoints   what the folders must hold         networks    the transformer, weight by weight; LoRA, fp8
    text, audio   words and sound to features        vae, pose   pictures to latents and back, as streams
    precision     fp8 linear layers                  nf4         linear layers in 4 bits
    transformer_file  GGUF and scaled safetensors    launch      what our own kernels need
    pieces, recorded  compiled layers, CUDA graphs   split_cache ring caches in 8 bits or in main memory
    offload       when a network is on the device    options     the command line
    preset        every number                       backend     all of it behind `liveavatar.backends.Backend`
"""

"""What makes mini's weights: speech, clips of people, and one module for each stage of training.

    corpus -> audio_encoder, vae -> base -> distill -> decoder, regressor -> review, ship

Nothing else in the package imports it.
"""

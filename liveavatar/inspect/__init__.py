"""Look into the network while it works: what attends to what, and what each layer would answer.

    with inspect.record(pipe, step=3, layers=[2]) as seen:
        for step in pipe.steps(...): ...
    seen.attention(block=0, step=3, layer=2, part="self").weights      # (heads, queries, keys)
    seen.readout(block=0, step=3, layer=2)                             # that layer's output through the head

    with inspect.hide(pipe, keys=[...], queries=[...]): ...            # and what changes without these keys?

Everything is read by forward hooks that exist only between `__enter__` and `__exit__`: without a recording, the network
is as if this package were not there.
"""

from liveavatar.inspect.attention import AttentionWeights, TokenPlaces, attention_weights, self_key_places
from liveavatar.inspect.hiding import Hiding, hide
from liveavatar.inspect.recording import PARTS, Recording, record
from liveavatar.inspect.sound_reach import sound_lag_ms, sound_profile, sound_reach

__all__ = ["PARTS", "AttentionWeights", "Hiding", "Recording", "TokenPlaces", "attention_weights", "hide", "record",
           "self_key_places", "sound_lag_ms", "sound_profile", "sound_reach"]

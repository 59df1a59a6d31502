"""How many bytes a model's weights and the state of its VAE take, counted from their tensors."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch

from liveavatar.decoder import StreamingVAE

if TYPE_CHECKING:
    from liveavatar.backends import Backend


def bytes_of_weights(backend: Backend | None) -> int:
    """Return the bytes of all networks that a backend holds."""
    networks = [value for value in vars(backend).values() if isinstance(value, torch.nn.Module)] if backend else []
    tensors = {id(tensor): tensor for network in networks for tensor in (*network.parameters(), *network.buffers())}
    return sum(tensor.nbytes for tensor in tensors.values())


def bytes_of_vae_state(backend: Backend | None, latents: torch.Tensor) -> int:
    """Return the bytes that a streaming VAE keeps between two blocks.

    It is found by decoding a block without data, on torch's meta device.
    0 where that is not possible: its state then counts as rest. Found once for each VAE and size.
    """
    vae = None if backend is None else backend.vae
    if not isinstance(vae, StreamingVAE):
        return 0
    found, shape = VAE_STATES.setdefault(vae, {}), tuple(latents.shape)
    if shape not in found:
        found[shape] = state_after(vae, shape)
    return found[shape]


VAE_STATES: WeakKeyDictionary[object, dict[tuple[int, ...], int]] = WeakKeyDictionary()


def state_after(vae: torch.nn.Module, shape: tuple[int, ...]) -> int:
    """Return the bytes of a VAE's state after latents of this shape."""
    try:
        with torch.inference_mode():
            network = meta_copy(vae)
            empty = torch.empty(shape, device="meta", dtype=next(vae.parameters()).dtype)
            _, memory = type(vae).decode_stream(network, empty, None)
        return sum(one.nbytes for one in memory if isinstance(one, torch.Tensor))
    except (RuntimeError, NotImplementedError, AttributeError, TypeError):
        return 0


def meta_copy(network: torch.nn.Module) -> torch.nn.Module:
    """Copy a network to the meta device, without its numbers."""
    known = {id(tensor): torch.nn.Parameter(tensor.detach().to("meta"), False) for tensor in network.parameters()}
    known |= {id(tensor): tensor.detach().to("meta") for tensor in network.buffers()}
    return copy.deepcopy(network, known)

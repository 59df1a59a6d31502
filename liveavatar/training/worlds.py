"""Which worlds a training stage draws its clips from, as options of its command line."""

from __future__ import annotations

import argparse
from functools import cache
from pathlib import Path

import torch

from liveavatar.avatars.renderer import compiled_renderer
from liveavatar.avatars.traits import WORLDS
from liveavatar.avatars.world import PEOPLE, AvatarWorld, Renderer
from liveavatar.puppets.people import blend_people, read_portraits, rigs_of
from liveavatar.puppets.rig import Rigs
from liveavatar.puppets.world import PuppetWorld
from liveavatar.training.clips import Clips, SpeechTable, World
from liveavatar.training.corpus import Corpus, load_corpus

BLEND_SEED = 31


def add_world_arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the options of every stage that draws pictures."""
    parser.add_argument("--portraits", type=Path, help="folder of photographs with landmarks; none: drawn avatars only")
    parser.add_argument("--photo_share", type=float, default=0.6, help="share of clips that show photographs")
    parser.add_argument("--blends", type=int, default=200, help="people added by blending pairs of photographs")
    parser.add_argument("--world", choices=WORLDS, default="rich", help="of the drawn avatars, and of all movement")
    parser.add_argument("--people", type=int, default=PEOPLE, help="drawn avatars that are cast")
    return parser


def clips_of(arguments: argparse.Namespace, split: str, device: torch.device, size: tuple[int, int],
             generator: torch.Generator, vary: bool = True) -> Clips:
    """Return clips of one split ("train" or "held") of the worlds asked for; photographs come last in a batch."""
    avatars = AvatarWorld.of_split(split, size, device, arguments.compile, arguments.people,
                                   shared_renderer(size, arguments.world, arguments.compile), arguments.world)
    worlds = [World(avatars, 1 - arguments.photo_share if arguments.portraits else 1.0)]
    if arguments.portraits and arguments.photo_share > 0:
        rigs = rigs_of_split(arguments.portraits, split, arguments.blends if split == "train" else 0, str(device))
        worlds.append(World(PuppetWorld(rigs, size, vary), arguments.photo_share))
    return Clips(speech_of_split(arguments.corpus, split, str(device)), worlds, device, generator,
                 arguments.world)


@cache
def shared_renderer(size: tuple[int, int], world: str, compiled: bool) -> Renderer | None:
    """Return one renderer for all clips of a size: it is compiled once."""
    return compiled_renderer(size, world) if compiled else None


@cache
def _corpus(path: str) -> Corpus:
    return load_corpus(path)


@cache
def speech_of_split(path: str, split: str, device: str) -> SpeechTable:
    """Load the utterances of one split, once."""
    return SpeechTable(_corpus(path), split, torch.device(device))


@cache
def rigs_of_split(folder: Path, split: str, blends: int, device: str) -> Rigs:
    """Make the photographs of one split ready, and people blended from them."""
    portraits = read_portraits(folder, "train" if split == "train" else "val")
    rigs = [rigs_of(portraits, device)]
    if blends:
        generator = torch.Generator().manual_seed(BLEND_SEED)
        rigs.append(rigs_of(blend_people(portraits, blends, generator, device), device))
    return Rigs.cat(rigs)

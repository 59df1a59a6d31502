"""What a plan says: moments of a run with their owners, the time of a block, the verdict."""

from __future__ import annotations

from dataclasses import dataclass

from liveavatar.vram.cards import GIB, Card
from liveavatar.vram.settings import Settings

FITS, TIGHT, NOT = "fits", "tight", "does not fit"


OWNERS = {
    "transformer": "transformer weights", "gathered": "gathered layers (FSDP)", "rings": "caches of the steps",
    "condition": "condition cache, text, and the staging buffer", "text_encoder": "text encoder",
    "audio_encoder": "audio encoder",
    "vae": "VAE weights", "vae_state": "VAE state", "activations": "activations", "slack": "allocator and CUDA",
    "libraries": "Python, libraries and what else the process holds",
}


TIGHT_ABOVE = 0.93                   # of what torch can hand out


@dataclass(frozen=True)
class Moment:
    """One stage of a run: who holds how much of the device's memory at the highest point of that stage."""

    stage: str                    # "load", "merge", "quantise", "move", "text", "audio", "portrait", "prefill", ...
    description: str
    owners: dict[str, int]        # bytes, by OWNERS
    host: int = 0                 # bytes of main memory, weights only

    @property
    def bytes(self) -> int:
        """Return what all owners hold."""
        return sum(self.owners.values())

    @property
    def clause(self) -> str:
        """Return, for the end of a sentence, the moment with a verb."""
        return f"{self.description} is made" if self.stage in ("step", "steady") else self.description

    @property
    def owner(self) -> str:
        """Return who holds most."""
        return max(self.owners, key=self.owners.get)


@dataclass(frozen=True)
class BlockTime:
    """Estimated time of a block of 12 video frames, from the card's sheet. Not measured."""

    step_s: float                 # products and traffic of one step, compiled
    floor_s: float                # products alone
    decode_s: float
    block_s: float                # until the next block follows: the slowest device decides
    first_s: float                # until a block's pictures are there: all steps one after another
    deadline_s: float             # how long the block lasts on screen
    transfers_s: float = 0.0      # of a step, between main memory or other cards; runs beside the work where it can

    @property
    def keeps_up(self) -> bool:
        """Tell whether blocks come as fast as they are watched."""
        return self.block_s <= self.deadline_s


@dataclass(frozen=True)
class Prediction:
    """One run on one kind of card: who holds how much when, on each device, and how long it takes."""

    settings: Settings
    card: Card | None                          # None: main memory
    devices: tuple[tuple[Moment, ...], ...]    # the moments of each GPU
    roles: tuple[str, ...]                     # what each GPU does
    time: BlockTime | None
    usable: int                                # bytes

    @property
    def moments(self) -> tuple[Moment, ...]:
        """Return the moments of the fullest device."""
        return max(self.devices, key=lambda moments: max(moment.bytes for moment in moments))

    @property
    def peak(self) -> Moment:
        """Return the moment at which most is held."""
        return max(self.moments, key=lambda moment: moment.bytes)

    @property
    def host_peak(self) -> int:
        """Return bytes of main memory for weights and resting caches, at the most."""
        return max(moment.host for moment in self.moments)

    @property
    def verdict(self) -> str:
        """Return "fits", "tight" or "does not fit"."""
        if self.peak.bytes > self.usable:
            return NOT
        return TIGHT if self.peak.bytes > TIGHT_ABOVE * self.usable else FITS

    @property
    def where(self) -> str:
        """Return the name of the card, or that it is main memory."""
        return self.card.name if self.card else "this computer"

    @property
    def sentence(self) -> str:
        """Return the verdict with its peak, its moment and its owner."""
        peak = self.peak
        return (f"{self.verdict}: {gib(peak.bytes)} of {gib(self.usable)} usable on {self.where}; the peak is when "
                f"{peak.clause}; most of it: {OWNERS[peak.owner]}, {gib(peak.owners[peak.owner])}")


def gib(count: float) -> str:
    """Return bytes in words."""
    return f"{count / GIB:.2f} GiB" if abs(count) >= GIB / 2 else f"{count / 2**20:.0f} MiB"

"""Which rank denoises which steps, and which one decodes. Needs no process group, so plans can be made anywhere."""

from __future__ import annotations

from dataclasses import dataclass

from liveavatar.types import InputError


@dataclass(frozen=True)
class Layout:
    """Describe which rank takes which steps, and which one decodes."""

    steps: int
    ranks: int
    own_vae: bool            # the VAE has a rank for itself

    @classmethod
    def of(cls, steps: int, ranks: int, vae: str = "auto") -> Layout:
        """Distribute steps over ranks.

        vae: "own", "shared" (with the last steps), or "auto": its own once every step has a rank
        Raises InputError where that is not possible.
        """
        if vae not in ("auto", "own", "shared"):
            raise InputError(f"vae is {vae!r}; known: auto, own, shared")
        if steps < 1 or ranks < 1:
            raise InputError(f"{steps} steps over {ranks} processes; both must be at least 1")
        if vae == "own" and ranks == 1:
            raise InputError("one process cannot give the VAE a rank of its own; use vae=\"shared\" or start two")
        return cls(steps, ranks, vae == "own" or (vae == "auto" and ranks > steps))

    @property
    def denoising_ranks(self) -> int:
        """Return how many ranks denoise; they are the first ones."""
        return min(self.steps, self.ranks - self.own_vae)

    @property
    def vae_rank(self) -> int:
        """Return the rank that decodes."""
        return self.denoising_ranks if self.own_vae else self.denoising_ranks - 1

    def owned(self, rank: int) -> range:
        """Return the steps of a rank; the first ranks take one more where they do not come out even."""
        if rank >= self.denoising_ranks:
            return range(0)
        share, more = divmod(self.steps, self.denoising_ranks)
        first = rank * share + min(rank, more)
        return range(first, first + share + (rank < more))

    def description(self, rank: int) -> str:
        """Describe the work of a rank: "steps 2 to 3 and VAE"."""
        steps = self.owned(rank)
        if not steps:
            return "VAE" if rank == self.vae_rank else "nothing: more devices than work"
        named = f"step {steps[0]}" if len(steps) == 1 else f"steps {steps[0]} to {steps[-1]}"
        return named + (" and VAE" if rank == self.vae_rank else "")

"""Training of the VAE at toy size through the real code: clips, budget, checkpoints, resuming, evaluation."""

import json
import os
import signal

import numpy as np
import pytest
import torch
from people import portraits
from torch import nn

from liveavatar.audio import SILENCE
from liveavatar.avatars import LANDMARKS, identity_index, motion_index, rest_pose
from liveavatar.avatars.world import AvatarWorld
from liveavatar.backends.mini.audio import AFTER, BEFORE
from liveavatar.backends.mini.vae import VideoVAE, load_vae
from liveavatar.puppets import PuppetWorld, rigs_of
from liveavatar.training import decoder
from liveavatar.training import vae as stage
from liveavatar.training.checkpoint import find_pieces, load_pieces, save_pieces
from liveavatar.training.clips import Clips, World, avatar_clips, disturb
from liveavatar.training.dataset import emphasis_bells, emphasis_weights
from liveavatar.training.learner import Learner
from liveavatar.training.loop import Budget, TrainingLoop, learning_rate_scale
from liveavatar.training.sheets import write_png
from liveavatar.training.textures import Textures
from liveavatar.types import InputError

FRAMES = {"train": (60, 30), "held": (40,)}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Three utterances whose mouth opens once a second; the sound is a constant that names the utterance."""
    lengths = [n for frames in FRAMES.values() for n in frames]
    opening = np.concatenate([50 + 50 * np.sin(np.arange(n) / 25 * 2 * np.pi) for n in lengths])
    visemes = np.full((sum(lengths), 7), 100)
    visemes[:, 0] = 100 + opening
    path = tmp_path_factory.mktemp("corpus") / "corpus.npz"
    np.savez(path, mel=np.repeat(np.repeat([50, 60, 70], lengths), 2)[:, None].repeat(64, 1).astype(np.uint8),
             visemes=visemes.astype(np.uint8), loudness=opening.astype(np.uint8),
             speaking=np.ones(sum(lengths), np.uint8), frames=np.array(lengths, np.int32),
             voice=np.array(["a", "b", "c"]), split=np.array(["train", "train", "held"]))
    return path


def make_clips(corpus, split="train", seed=0):
    return avatar_clips(corpus, split, "cpu", (32, 32), torch.Generator().manual_seed(seed), people=16)


def both_worlds(corpus, share, seed=0):
    """Drawn avatars, and photographs."""
    avatars = make_clips(corpus, seed=seed)
    photographs = PuppetWorld(rigs_of(portraits()), (32, 32))
    return Clips(avatars.speech, [World(avatars.worlds[0].source, 1 - share), World(photographs, share)], "cpu",
                 torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------- clips

def test_clips_of_the_rich_world_are_drawn_and_moved_in_its_way(corpus):
    plain, rich = (avatar_clips(corpus, "train", "cpu", (32, 32), torch.Generator().manual_seed(0), people=16,
                                world=world).draw(2, 4) for world in ("plain", "rich"))
    assert [clips.identity[:, identity_index("detail")].tolist() for clips in (plain, rich)] == [[0, 0], [1, 1]]
    assert torch.equal(plain.motion[..., 0], plain.visemes[..., 0])
    assert not torch.equal(rich.motion[..., 0], rich.visemes[..., 0])          # one of many ways to say it
    with pytest.raises(InputError, match="world is 'poor'"):
        avatar_clips(corpus, "train", "cpu", (32, 32), people=16, world="poor")


def test_subframes_blur_what_moves_and_nothing_else():
    sharp, blurred = (AvatarWorld.of_split("train", (32, 32), people=16, subframes=count) for count in (1, 2))
    who, motion = sharp.identities[:1], rest_pose(5)[None]
    torch.testing.assert_close(blurred.film(who, motion)[0], sharp.film(who, motion)[0])
    motion[0, :, motion_index("head_x")] = torch.linspace(-0.1, 0.1, 5)
    before, after = (motion[:, 2:3].clone() for _ in range(2))
    before[..., motion_index("head_x")], after[..., motion_index("head_x")] = -0.00625, 0.00625    # 1/8 frame
    expected = (sharp.film(who, before)[0] + sharp.film(who, after)[0]) / 2
    torch.testing.assert_close(blurred.film(who, motion)[0][:, :, 2:3], expected)


def test_a_clip_knows_everything_about_itself(corpus):
    drawn = make_clips(corpus).draw(2, 4, portrait=True)
    assert drawn.video.shape == (2, 3, 4, 32, 32)
    assert drawn.portrait.shape == (2, 3, 32, 32)
    assert drawn.mel.shape == (2, 2 * (BEFORE + 4 + AFTER) + 10, 64)
    assert drawn.points.shape == (2, 4, len(LANDMARKS), 2)
    assert 0 <= drawn.video.min() and drawn.video.max() <= 1


def test_one_seed_is_one_clip(corpus):
    first, same, other = (make_clips(corpus, seed=seed).draw(2, 4) for seed in (1, 1, 2))
    assert torch.equal(first.video, same.video)
    assert not torch.equal(first.video, other.video)


def test_film_puts_every_picture_in_its_place(corpus):
    clips = make_clips(corpus)
    drawn = clips.draw(2, 4)
    for clip in range(2):
        alone = clips.worlds[0].source.portrait(drawn.identity[clip:clip + 1], drawn.motion[clip:clip + 1, 3])
        torch.testing.assert_close(drawn.video[clip, :, 3], alone[0])


def test_clips_of_two_worlds_come_by_their_shares(corpus):
    drawn = both_worlds(corpus, 0.5).draw(4, 2, portrait=True)
    assert drawn.photo.tolist() == [False, False, True, True]
    assert drawn.video.shape == (4, 3, 2, 32, 32) and drawn.portrait.shape == (4, 3, 32, 32)
    assert drawn.identity[2:].abs().max() == 0 and drawn.identity[:2].abs().max() > 0
    assert drawn.controls[2:, 0].max() == 0                        # photographs have no hands to gesture with
    counts = [int(both_worlds(corpus, 0.3, seed).draw(2, 1).photo.sum()) for seed in range(12)]
    assert {0, 1} == set(counts)                                   # 0.6 of a clip: one or none


def test_sound_and_movement_may_begin_before_the_pictures(corpus):
    drawn = make_clips(corpus).draw(2, 4, lead=3)
    assert drawn.video.shape[2] == drawn.motion.shape[1] == drawn.visemes.shape[1] == 4
    assert drawn.mel.shape[1] == 2 * (BEFORE + 7 + AFTER) + 10


def test_still_clips_do_not_move(corpus):
    video = make_clips(corpus).draw(2, 4, still=1).video
    assert torch.equal(video[1, :, 0], video[1, :, 3])


def test_splits_share_neither_people_nor_speech(corpus):
    train, held = make_clips(corpus), make_clips(corpus, "held")
    assert not torch.equal(train.worlds[0].source.identities, held.worlds[0].source.identities)
    assert held.draw(4, 8).mel.unique().numel() <= 2             # its own level, and silence


def test_beyond_an_utterance_there_is_silence(corpus):
    clips = make_clips(corpus)
    mel = clips.speech.log_mel(torch.tensor([60]), torch.tensor([[60, 90]]), 30)[0]     # all of the second utterance
    before, after = 4 + 2 * BEFORE, 6 + 2 * AFTER
    assert torch.allclose(mel[:before], torch.tensor(SILENCE)) and torch.allclose(mel[-after:], torch.tensor(SILENCE))
    assert torch.allclose(mel[before:-after], torch.tensor(SILENCE + 60 * 0.04))


def test_a_clip_longer_than_any_utterance_is_refused(corpus):
    with pytest.raises(InputError, match="clip of 61 frames; the longest has 60"):
        make_clips(corpus).draw(1, 61)


def test_disturbed_sound_stays_in_range_and_keeps_its_shape():
    mel = torch.randn(8, 26, 64) - 0.5
    heard = disturb(mel, torch.Generator().manual_seed(0))
    assert heard.shape == mel.shape
    assert heard.isfinite().all() and heard.min() >= SILENCE
    assert not torch.equal(heard, mel)


# ---------------------------------------------------------------- loop

def line_loop(work, resume=False, **budget):
    """Learn the slope of a line: the loss is known."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(5)
    learner = Learner(nn.Linear(3, 1), lr=0.05)
    return TrainingLoop(work, {"line": learner}, generator, Budget(**budget), resume, log_every=1)


def run(loop):
    for _ in loop:
        x = torch.randn(16, 3, generator=loop.generator)
        loss = (loop.learners["line"].model(x)[:, 0] - x.sum(1)).square().mean()
        loop.update("line", loss)
        loop.show(loss=loss)
    return [entry["loss"] for entry in loop.history]


def test_the_loss_falls(tmp_path):
    losses = run(line_loop(tmp_path, total_steps=60))
    assert losses[-1] < 0.1 * losses[0]


def test_a_run_in_pieces_sees_what_one_run_sees(tmp_path):
    whole = run(line_loop(tmp_path / "whole", total_steps=12))
    run(line_loop(tmp_path / "pieces", total_steps=12, steps=5))
    pieces = run(line_loop(tmp_path / "pieces", resume=True, total_steps=12))
    assert len(pieces) == 12
    assert pieces[5] == whole[5]                                   # the same weights, the same random numbers
    assert pieces == pytest.approx(whole, rel=1e-2)                # moments travel in bfloat16


def test_sigterm_ends_the_run_with_a_checkpoint(tmp_path):
    loop = line_loop(tmp_path, total_steps=50)
    for _ in loop:
        loop.update("line", loop.learners["line"].model(torch.ones(1, 3)).square().mean())
        if loop.step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
    assert loop.step == 4
    assert line_loop(tmp_path, resume=True, total_steps=50).step == 4


def test_a_budget_without_end_is_refused():
    with pytest.raises(InputError, match="--total_minutes"):
        Budget(minutes=3)


def test_the_clock_and_the_steps_both_end_a_budget():
    budget = Budget(total_minutes=10, total_steps=100)
    assert budget.share(minutes=5, step=10) == 0.5
    assert budget.share(minutes=1, step=100) == 1


def test_the_learning_rate_warms_up_and_falls():
    rates = [learning_rate_scale(share) for share in (0, 0.03, 0.5, 1)]
    assert rates[0] < 0.05 and rates[1] > 0.99
    assert rates[2] == pytest.approx(0.515, abs=0.01)
    assert rates[3] == pytest.approx(0.03)


def test_pieces_stay_below_their_limit_and_belong_together(tmp_path):
    tensors = {f"t{i}": torch.full((100,), float(i)) for i in range(5)}
    paths = save_pieces(tensors, tmp_path, "some", {"step": "1"}, limit_bytes=900)
    assert [path.name for path in paths] == ["some-0.safetensors", "some-1.safetensors", "some-2.safetensors"]
    assert all(torch.equal(load_pieces(tmp_path, "some")[0][name], tensor) for name, tensor in tensors.items())
    paths[1].unlink()
    with pytest.raises(InputError, match="do not belong together"):
        load_pieces(tmp_path, "some")
    save_pieces(tensors, tmp_path, "some")                         # one file now: the old pieces go
    assert [path.name for path in find_pieces(tmp_path, "some")] == ["some.safetensors"]


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(InputError, match="start without --resume"):
        line_loop(tmp_path, resume=True, total_steps=3)


def test_a_picture_is_written_as_it_is(tmp_path):
    from PIL import Image
    picture = torch.rand(3, 5, 7)
    read = np.asarray(Image.open(write_png(picture, tmp_path / "p.png")))
    assert np.array_equal(read, (picture * 255).round().byte().permute(1, 2, 0).numpy())


# ---------------------------------------------------------------- the stage

def train_vae(corpus, work, *more):
    return stage.main(["--corpus", str(corpus), "--work", str(work), "--total_steps", "4", "--device", "cpu",
                       "--size", "32*32", "--batch", "2", "--frames", "4", "--config", "narrow", "--textures", "1",
                       "--texture_pool", "2", "--people", "16", "--log_every", "1", "--evaluation_clips", "2",
                       "--evaluation_frames", "4", *more])["avatars"]


def test_training_resumes_where_it_stopped(corpus, tmp_path):
    train_vae(corpus, tmp_path, "--steps", "2")
    scores = train_vae(corpus, tmp_path, "--resume")
    history = json.loads((tmp_path / "training.json").read_text())["history"]
    assert [entry["step"] for entry in history] == [1, 2, 3, 4]
    assert set(scores) >= {"psnr_whole_db", "psnr_mouth_db", "psnr_hands_db", "detail"}
    assert scores["latent_rms"] == pytest.approx(1, abs=0.5)
    assert load_vae(tmp_path / "vae.safetensors").latent_std.min() > 0
    names = {path.name for path in tmp_path.iterdir()}
    assert names >= {"vae.safetensors", "checkpoint.safetensors", "training.json", "sheet_avatars.png", "loss.png"}


def test_the_decoder_is_sharpened_and_the_latents_stay(corpus, tmp_path):
    train_vae(corpus, tmp_path / "vae")
    before = load_vae(tmp_path / "vae" / "vae.safetensors")
    scores = decoder.main([
        "--corpus", str(corpus), "--work", str(tmp_path / "decoder"), "--total_steps", "3", "--device", "cpu",
        "--vae", str(tmp_path / "vae" / "vae.safetensors"), "--size", "32*32", "--batch", "2", "--frames", "4",
        "--people", "16", "--log_every", "1", "--evaluation_clips", "2", "--evaluation_frames", "4"])
    after = load_vae(tmp_path / "decoder" / "vae.safetensors").state_dict()
    moved = {name.split(".")[0] for name, tensor in before.state_dict().items()
             if not torch.allclose(tensor, after[name], atol=1e-6)}
    assert moved == {"decoder"} and set(scores) == {"avatars"}


def test_a_discriminator_of_patches_tells_sharp_from_blurred():
    torch.manual_seed(0)
    sharp = torch.rand(4, 3, 32, 32)
    blurred = torch.nn.functional.avg_pool2d(sharp, 5, 1, 2)
    judge = decoder.PatchDiscriminator((8, 8, 8))
    optimizer = torch.optim.Adam(judge.parameters(), 1e-2)
    for _ in range(40):
        cost = decoder.discriminator_loss(judge(sharp)[0], judge(blurred)[0], torch.ones(4, 1, 4, 4))
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
    assert judge(sharp)[0].mean() > judge(blurred)[0].mean() + 0.5 and cost < 1.8
    score, features = judge(blurred)
    same = decoder.decoder_loss(score, features, features, torch.ones(4, 1, 4, 4))
    torch.testing.assert_close(same, -decoder.ADVERSARIAL_WEIGHT * score.mean())


def test_a_perfect_vae_scores_high_and_a_grey_one_low(corpus):
    class Perfect(VideoVAE):
        def encode(self, video):
            return video

        def decode(self, latents):
            return latents

    class Grey(Perfect):
        def decode(self, latents):
            return torch.full_like(latents, 0.5)

    perfect, grey = (stage.evaluate(kind(), make_clips(corpus), 2, 4, 2) for kind in (Perfect, Grey))
    assert perfect["psnr_whole_db"] > 100 and perfect["psnr_mouth_db"] > 100 and perfect["detail"] == 1
    assert grey["psnr_whole_db"] < 25 and grey["detail"] < 0.3


def test_the_loss_is_emphasised_at_the_mouth_and_not_in_the_corner(corpus):
    drawn = make_clips(corpus).draw(1, 1)
    weights = emphasis_weights(emphasis_bells(drawn.points, (32, 32)))[0, 0]
    x, y = stage.point(drawn, "mouth_center")[0].long().tolist()
    assert weights[y, x] > 5 and weights[0, 0] == pytest.approx(1, abs=0.1)
    more = emphasis_weights(emphasis_bells(drawn.points, (32, 32)), mouth_weight=20)[0, 0]
    assert more[y, x] > 2.5 * weights[y, x] and more[0, 0] == pytest.approx(1, abs=0.3)


def test_textures_fill_a_picture_with_edges_that_move():
    textures = Textures(torch.Generator().manual_seed(0), count=3, side=48)
    film = textures.film(6, 4, (32, 32))
    assert film.shape == (6, 3, 4, 32, 32) and 0 <= film.min() and film.max() <= 1
    assert film.std((1, 2, 3, 4)).min() > 0.01
    assert any(not torch.equal(clip[:, 0], clip[:, 3]) for clip in film)

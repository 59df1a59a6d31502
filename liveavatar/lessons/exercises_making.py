"""Exercises of the lessons 01 to 10: how a video is made, step by step."""

from __future__ import annotations

from liveavatar.lessons.answers import number, numbers
from liveavatar.lessons.exercise import Exercise

MAKING = (
    # ------------------------------------------------------------------------------------------- 01 first words
    Exercise(
        "pictures-of-river", "first_words",
        number(142, slips={141: "there is sound after the 141st picture, and it needs a picture too",
                           144: "that is whole blocks; what reaches beyond the sound is cut off"}),
        hints=("The seconds of the recording are len(wave) / rate_hz, and each second has 25 pictures.",
               "141.5 pictures cannot be made: round up, with math.ceil."),
        right="The pictures last as long as the sound to its very end, so the number is rounded up. Eleven blocks of "
              "12 pictures would be too few, twelve are 144, and the last two are cut off."),
    Exercise(
        "portrait-decides", "first_words",
        number(3.3, within=1.1, slips={1: "then the portrait would make no difference; are both traces used?",
                                       0.31: "that is the other way round: without a portrait over with one"}),
        hints=("trace.step(0, 1).clean is the guess of block 0 after step 1. Subtract that after step 0, and take the "
               "root of the mean of the squares.",
               "Do the same with `nobody`, and divide: nobody's change by that of `trace`."),
        right="Without a portrait step 1 changes the guess about three times as much: it has to decide who speaks. The "
              "portrait had decided that before the first step, so only sharpening was left."),
    # ------------------------------------------------------------------------------------------- 02 sound
    Exercise(
        "frame-of-and", "sound",
        number(29, slips={30: "the sound begins while picture 29 is shown; round down",
                          59: "that is the column of the mel picture, which has 50 a second",
                          1.18: "those are seconds; a second has 25 pictures"}),
        hints=("`speech.phonemes` has a symbol and start_s, in seconds, for each sound.",
               "1.18 s times 25 pictures a second is 29.5: which picture is being shown then?"),
        right="Picture 29 is shown from 1.16 s to 1.20 s, and the sound begins at 1.18 s. From such pairs of times and "
              "pictures it is known what the mouth should do."),
    Exercise(
        "hiss-removed", "sound",
        number(19.4, within=1.5, slips={-19.4: "the size is right; what is asked for is how much lower it is, above 0",
                                        53.4: "that is the level that is left, not the difference",
                                        86: "that compares with the clean recording; compare noisy and cleaned"}),
        hints=("The cell above has printed the level in the pause for all three recordings.",
               "Subtract the level of `cleaned` from that of `noisy`; decibels are a logarithm, so no division."),
        right="About 19 dB: the hiss is nine times smaller (10 to the power of 19 / 20). The filter can do so because "
              "the pause shows it what is only noise."),
    Exercise(
        "tone-band", "sound",
        number(20, within=1, slips={1000: "that is the pitch in hertz; which of the 64 bands is it?",
                                    16: "that would be right if bands were equally wide in hertz; are they?"}),
        hints=("Make the tone: np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000), as float32, and give it to mel_of.",
               "mel_of answers (columns, bands): average over the columns, then argmax."),
        right="Band 20 of 64. 1000 Hz is an eighth of the range up to 8000 Hz, yet nearly a third of the bands lie "
              "below it: as in an ear, low pitches are told apart more finely."),
    # ------------------------------------------------------------------------------------------- 03 four steps
    Exercise(
        "third-step-starts", "four_steps",
        number(0.602, within=0.005, slips={0.0089: "there the third step ends",
                                           0.8577: "there the second step starts: steps are counted from 0",
                                           0.75: "that is the schedule `trained`"}),
        hints=("make_schedule(\"released\", steps=4).sigmas has the noise levels, the first one is that of the first "
               "step.",
               "The third step has the index 2."),
        right="0.602: the two steps before it covered 40 % of the way, and this one goes down to 0.009, 59 % of the "
              "way at once. What is left to the last step is hardly any noise."),
    Exercise(
        "mouth-step", "four_steps",
        number(3, slips={1: "look further: the guesses of the steps 2 and 3 follow",
                         2: "compare how far the openings of one guess lie from each other, not how large they are"}),
        hints=("Collect step.clean of the four steps of block 1, decode each with decode_exactly and read the mouth "
               "with liveavatar.metrics.lips.mouth_opening.",
               "For each step: opening.std(), over the twelve pictures; which one is largest?"),
        right="Step 3. An early guess is the mean of many videos, in which the head is now here, now there; in a mean "
              "the mouth hardly moves. Only when the rest is decided does it open and close in full."),
    Exercise(
        "sound-decides", "four_steps",
        number(0, slips={1: "look at step 0 as well: is the difference already above 0.05 there?",
                         3: "the last step is the sharpest, not the first that differs"}),
        hints=("GenerationConfig(duration_s=0.96, sound_strength=0) takes the sound away; portrait, words and noise "
               "stay the same. Make the condition and the steps anew with it.",
               "For each step: the mean of abs(mouth with sound - mouth without), over the 12 pictures of block 1."),
        right="Already after step 0. The sound tells the network how far the mouth is open while the picture is pure "
              "noise; the steps after it only draw that mouth."),
    Exercise(
        "euler-by-hand", "four_steps",
        numbers((-0.3, 0.5), within=0.005,
                slips={(0.5, -0.3): "both numbers are right, in the other order: clean first, then x",
                       (-0.3, 1.3): "the noise falls, so (after - now) is negative: 0.5 - 0.75",
                       (-0.3, 0.1): "the step goes from 0.75 to 0.5: only 0.25 of the velocity"}),
        hints=("clean = x - sigma * velocity, with the noise level at which the network was asked.",
               "x after the step = x + (sigma after - sigma now) * velocity."),
        right="clean = 0.9 - 0.75 * 1.6 = -0.3 is where the step is heading, x = 0.9 - 0.25 * 1.6 = 0.5 is how far it "
              "comes: a third of the way, since a third of the noise goes."),
    # ------------------------------------------------------------------------------------------- 04 flow matching
    Exercise(
        "one-step-end", "flow_matching",
        numbers((1 / 3, 0), within=0.02, slips={(2, 0): "that is one of the modes",
                                                (1, 0): "that is their sum over one; all three count alike"}),
        hints=("One step from pure noise ends at the mean of all that is possible.",
               "Average the three points, first all x, then all y; or ask make_mixture(...).mean."),
        right="All noise ends there, at the mean of the modes, where no data are at all. In a picture that is the "
              "average of everything possible: a blur."),
    Exercise(
        "steps-for-spread", "flow_matching",
        number(3, slips={4: "four keep 76 %; do fewer do, too?", 2: "two keep 47 %"}),
        hints=("sample_path and figures_of as in the cell above, with 1, 2, 3, ... steps.",
               "Take the smallest number whose spread_kept is at least 0.6."),
        right="Two steps keep 47 % of the spread, three keep 70 %. Each step decides a part of what the noise has left "
              "open; a student is taught to decide all of it in few."),
    Exercise(
        "velocity-at-noise", "flow_matching",
        numbers((0.5, -0.5), within=0.01, slips={(-0.5, 0.5): "velocity is noise minus clean, not clean minus noise",
                                                 (0, 0): "that is the mean of the data, where the step will end"}),
        hints=("At sigma 1 the point is the noise itself, and nothing is known of the clean point but its mean.",
               "data.velocity(torch.tensor([[0.5, -0.5]]), 1.0), or noise minus mean by hand."),
        right="Noise (0.5, -0.5) minus the mean (0, 0). At pure noise the network cannot know more than the mean, so "
              "that is what its velocity points away from."),
    # ------------------------------------------------------------------------------------------- 05 caches
    Exercise(
        "ring-at-block-5", "caches",
        number(576, slips={960: "15 latent frames were written, but the ring has room for 9 only",
                           9: "that is latent frames; each of them has several entries",
                           64: "that is one latent frame; how many are held?",
                           640: "the entries of the portrait stand beside the ring, not in it"}),
        hints=("Blocks 0 to 4 have written 15 latent frames. How many of them does the ring still hold?",
               "Multiply the latent frames that are held by ring.frame_tokens."),
        right="9 latent frames of 64 entries each. It would be the same at block 500: a ring that is full stays as it "
              "is, so neither memory nor time grow with the video."),
    Exercise(
        "overwritten-at", "caches",
        number(1.44, within=0.005, slips={3: "that is the number of the block; when does it begin?",
                                          36: "that is the picture; a second has 25 of them",
                                          1.92: "block 3 overwrites already; blocks are counted from 0"}),
        hints=("The ring has room for three blocks. Which block is the first that finds it full?",
               "A block lasts 0.48 s (run.info.block_s), and block 0 begins at 0 s."),
        right="Block 3 begins at 1.44 s and overwrites block 0. From then on the video knows its own beginning only "
              "through the portrait and through what later blocks have carried on."),
    Exercise(
        "forgotten-portrait", "caches",
        number(2, slips={3: "that is with the ring as trained, which holds nine latent frames",
                         6: "those are latent frames; a block has three of them",
                         1: "block 1 finds three of six places free: the ring is not full yet"}),
        hints=("A ring of six latent frames has room for two blocks. Which block is the first to find it full?",
               "6 // 3, counted from 0."),
        right="Block 2. From then on the person is known only from the blocks before, and each is a copy of a copy: "
              "that is how a stream drifts."),
    Exercise(
        "clean-cache-work", "caches",
        number(1.25, slips={5: "that is how often the network is called; how many times four is it?",
                            0.25: "that is what comes on top of it",
                            2: "the clean pass is one call more, not four"}),
        hints=("Four steps are four calls of the network; the finished block is a fifth.",
               "Divide five by four."),
        right="A quarter more work for a quarter of the memory; and a block cannot begin before the last one is "
              "finished, so the steps cannot be spread over several devices."),
    # ------------------------------------------------------------------------------------------- 06 lips
    Exercise(
        "two-early", "lips",
        number(-80, within=4, slips={80: "the size is right; early lips have a negative delay",
                                     -2: "that is pictures; the delay is in milliseconds",
                                     120: "that is the lesson's own example, three pictures late"}),
        hints=("truth.roll(3) moves the curve three pictures later. Which way moves it earlier?",
               "truth.roll(-2) is earlier. What it takes from the beginning comes in at the end, so cut five values "
               "off both ends of both curves: [5:-5]."),
        right="Two pictures of 40 ms, and minus because the mouth comes before the sound. Nobody notices that: up to "
              "125 ms early pass."),
    Exercise(
        "unnoticed", "lips",
        numbers((1, 3), slips={(3, 1): "the other way round: late first, then early",
                               (45, 125): "those are milliseconds; a picture lasts 40 of them",
                               (2, 4): "two pictures late are 80 ms, which is noticed"}),
        hints=("A picture lasts 40 ms. The green band above says what nobody notices.",
               "Late: how many whole pictures fit into 45 ms? Early: how many into 125 ms?"),
        right="One late, three early. We are used to sound that arrives late, since it travels more slowly than light; "
              "sound before the lips does not happen in nature."),
    Exercise(
        "half-open", "lips",
        number(1, within=0.01, slips={0.5: "a correlation compares shapes: does it change when one curve is halved?",
                                      0: "that is the delay; look at `peak`"}),
        hints=("offset_curve(truth / 2, truth) measures a mouth that opens half as far.",
               "The agreement is the attribute `peak` of what it answers."),
        right="Still 1. The delay and its agreement do not notice a lazy mouth; how far it opens must be measured by "
              "itself, as `fraction` of liveavatar.metrics.lips.lip_error does."),
    # ------------------------------------------------------------------------------------------- 07 memory
    Exercise(
        "longer-ring", "memory",
        number(1.9, within=0.005, slips={2: "the ring doubles; the entries of the portrait do not",
                                         0.526: "that is the shorter over the longer one"}),
        hints=("A cache holds the portrait's entries (condition_tokens) and capacity times frame_tokens in the ring.",
               "Divide the entries with room for 18 latent frames by those with room for 9."),
        right="(64 + 18 * 64) / (64 + 9 * 64) = 1.9. Memory buys the past: with twice the ring it reaches "
              "over 2.9 s instead of 1.4 s."),
    Exercise(
        "twice-as-long", "memory",
        number(1, within=0.01, slips={2: "the video is twice as long; are the rings? Look at ring.bytes",
                                      0.5: "the video is half as long; are the rings? Look at ring.bytes"}),
        hints=("sum(ring.bytes for ring in run.rings.values()) is the memory of all caches of a run.",
               "Divide it by the same sum of your shorter run."),
        right="Exactly the same: a ring is made in full at the first step and never grows. That is why a stream can "
              "go on without end."),
    # ------------------------------------------------------------------------------------------- 08 streaming
    Exercise(
        "late-frames", "streaming",
        number(28, slips={1: "0.42 s is how late the last block is; how many pictures are that, and in all blocks?",
                          11: "that is the last block alone; add those before it",
                          26: "a picture that is partly late is late: round up",
                          24: "a picture that is partly late is late: round up",
                          60: "not all pictures are late: the first block starts the clock"}),
        hints=("Block n comes n * 585 ms after the first and is due after n * 480 ms.",
               "Late pictures of block n: ceil(n * 0.105 * 25), at most 12. Add up n = 0 to 4."),
        right="0 + 3 + 6 + 8 + 11. The delay adds up: a machine that is only a fifth too slow loses nearly half of the "
              "pictures in the first five blocks, and all of them later."),
    Exercise(
        "devices", "streaming",
        number(4, slips={3: "of three devices one would have two steps, which are 600 ms",
                         2.5: "a step cannot be divided between devices",
                         2: "two devices with two steps each need 600 ms for a block"}),
        hints=("Every device works on another block at the same time. A block comes out as often as the slowest device "
               "is done.",
               "A device with one step needs 300 ms, one with two needs 600 ms. Which is below 480 ms?"),
        right="Each device makes one step, and every 300 ms a block is done. The first one still takes four times "
              "300 ms: devices in a row raise how often blocks come, not how soon the first one does."),
    # ------------------------------------------------------------------------------------------- 09 what looks where
    Exercise(
        "tokens-seen", "what_looks_where",
        number(448, slips={192: "that is its own block; portrait and block 0 are seen too",
                           384: "the portrait is seen too",
                           256: "its own block is seen too, all three latent frames of it"}),
        hints=("seen.attention(block=1, step=3, layer=2).weights has the shape (heads, places that look, places seen).",
               "Portrait 64, block 0 has 3 x 64, and the block itself 3 x 64."),
        right="64 of the portrait, 192 of block 0 and 192 of its own block. There is no future among them: that is "
              "what makes streaming possible."),
    Exercise(
        "who-listens", "what_looks_where",
        numbers((5, 3), (5, 4), slips={(3, 5): "the other way round: the row first, counted from the top",
                                       (4, 5): "the other way round: the row first, counted from the top",
                                       (0, 0): "the last of the five sound tokens means that nothing is listened to: "
                                               "leave it out"}),
        hints=("seen.attention(block=1, step=3, layer=2, part=\"sound\").weights is (heads, 192 places, 5): four "
               "tokens of sound, and a learned one that stands for not listening.",
               "weights[:, :, :4].sum(2).mean(0).reshape(3, 8, 8).mean(0) is a map of 8 x 8: where is its maximum?"),
        right="Row 5, in the middle: the mouth. Nobody told the network where a mouth is; it found out which places "
              "pay for listening."),
    Exercise(
        "portrait-step", "what_looks_where",
        number(0, slips={3: "it is the other way round: look at the shares of all four steps",
                         2: "2 is the layer; which of the four steps?",
                         0.61: "that is the share; in which step is it largest?"}),
        hints=("seen.attention(1, step, 2).shares()[\"portrait\"].mean() for the steps 0 to 3.",
               "Compare the four numbers; they fall from step to step."),
        right="Step 0, with more than half of its attention: while the block is noise, the portrait is all there is "
              "to go by. Later the block's own pictures say more."),
    # ------------------------------------------------------------------------------------------- 10 change one step
    Exercise(
        "untouched-cells", "change_one_step",
        number(5, slips={4: "block 0 is as it was; is step 0 of block 1, too?",
                         6: "the edit comes before step 1 of block 1, so that step already differs",
                         8: "then the edit would have changed nothing; compare step_record(block, step).x"}),
        hints=("There are two blocks of four steps. For each compare run.step_record(block, step).x with that of "
               "`early`, by torch.equal.",
               "All four of block 0, and those of block 1 before the edit: count where torch.equal is True."),
        right="Four of block 0 and step 0 of block 1. What lies before the edit is kept, bit for bit; so whatever "
              "differs later comes from the edit."),
    Exercise(
        "noise-is-seen", "change_one_step",
        number(3, slips={0: "at step 0 the region is noise anyway, and three more steps follow",
                         1: "that is the lesson's first branch, whose noise is repaired"}),
        hints=("Make the branch with latent=mouth at each of the steps 0 to 3, and measure block_difference(branch, "
               "run, 1) of liveavatar.metrics.run_pairs.",
               "Collect the four differences in a list and take the index of the largest one."),
        right="Step 3, the last: its guess is the picture, and no later step takes the noise for noise. The earlier "
              "something goes wrong, the more steps are left to repair it."),
)

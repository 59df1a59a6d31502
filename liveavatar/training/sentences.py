"""What is said in the training speech: sentences written for it, and two pools that never mix (train, held)."""

from __future__ import annotations

import re
from functools import cache

ENGLISH_TRAIN = """
The baker opened the window and the smell of bread filled the street.
My brother bought a small blue boat and painted it himself.
We walked along the beach until the moon came up.
Please put the book back on the table before supper.
Nobody remembers who planted the plum tree behind the barn.
Five farmers found a fox in the far field.
Would you move the wooden stool away from the warm stove?
The first bus leaves at half past five every morning.
She sang very softly, so the baby would not wake up.
Who knows how much wood is left for the winter?
I think both of them are thinking about the same thing.
The thin man with the thick beard thanked his mother.
Bring me a map, a pen, and a piece of paper.
People say that the best apples grow on old trees.
You should chew your food before you choose more juice.
The judge enjoyed a huge orange in the garden.
A measure of pleasure is worth more than treasure.
Keep your eyes on the road and your hands on the wheel.
What a beautiful view we have from this roof!
The big black bear broke a branch and ran away.
He laughed so hard that his hat fell off.
I would rather wait for the rain to stop.
Our office is on the fourth floor, above the fire station.
Maybe Mary may marry in the month of May.
The weather map shows more wind moving up from the west.
Each of these shoes was made in a small shop by the river.
Some people never seem to worry about anything.
Let us begin with a simple question about the past.
In my opinion the blue version looks far better.
Papa prefers pepper on his poached potatoes.
The violin was very valuable, over five hundred years old.
Very few visitors find the hidden valley.
When will the new museum be open to everybody?
We were away for a week, and our flowers withered.
The queen quickly acquired a quiet corner of the square.
Yes, I can hear you, and I can see you too.
No, thank you, I have already had enough.
Good evening, and welcome back to the program.
My name is not important, but my message is.
Here is what happened while you were asleep.
The sampler removes a little noise at every step.
A picture begins as pure chance and ends as a face.
The mouth closes completely before every puff of air.
Watch how the lips become round before the vowel begins.
Memory is cheap until you run out of it.
Every model is wrong, but some of them are useful.
We measured the error again and it went down by half.
Numbers without units are only half of the truth.
The window slides forward and forgets the oldest frames.
Look carefully at the corner of the mouth.
How do you do? How have you been? Where have you been?
Ouch! Oh my! Wow! What was that?
Mama made me mash my marmalade muffins.
Bob bumped his big bike into a bubble bath.
Sixty six sick sheep slept in the shade.
She showed me several shiny silver shells.
Which witch wished which wicked wish?
Three free throws flew through the air.
Red lorry, yellow lorry, rolling down the road.
A proper copper coffee pot is hard to come by.
The cook could not look at the good book.
Few of the new students knew the view from the school.
Out in the countryside the clouds hang low.
The boys enjoyed the noise of the toys.
I might try to fly a kite tonight.
They say the rain may stay all day.
Go home slowly, the road is frozen.
Here in this room you can hear the fear in their cheer.
The earth turns, the bird returns, the fern burns.
Aunt Martha started the car and parked in the yard.
Open the door, pour the water, and walk across the floor.
Ask the man in the back to clap his hands.
Get ready, get set, and let the red jet ascend.
It is a bit of a pity that the pig is in the kitchen.
He sees three green trees near the deep sea.
The sun comes up, the young ducks jump in the mud.
You too could use a new blue tube of glue.
Lots of frogs hop across the rocks and the logs.
Zebras and zigzags amaze the lazy wizard.
The village sage engaged a large carriage.
Hello everyone, can you hear me at the back?
This is a test of the microphone: one, two, three, four.
Seven, eight, nine, ten, eleven, twelve, thirteen, fourteen.
Twenty one thousand four hundred and fifty six.
On Monday we rest, on Tuesday we work, on Wednesday we wander.
January, February, March, April, May and June.
North, south, east and west, home is best.
If you have any questions, please raise your hand.
I am sorry, I did not catch what you said.
Could you repeat that a little more slowly, please?
Of course, it would be my pleasure to help.
The train on platform two is about to depart.
Breathe in, hold it for a moment, and breathe out.
Our shop is open from Monday to Saturday.
Press the button once to begin, and twice to stop.
Between you and me, I never liked that painting.
Everything should be made as simple as possible.
The pump in the cellar hums from morning till evening.
A warm wind blew over the wide open water.
Thousands of birds move south before the frost.
The shepherd whistled, and both dogs came running.
Under the bridge lived a family of beavers.
Grandfather always kept peppermints in his pocket.
My favourite game is to guess where people come from.
Put a spoonful of butter and a pinch of salt into the pan.
Boil the beans for about forty minutes.
There is a hole in the bottom of the bucket.
The old mill by the stream has been empty for years.
Tomorrow we shall finally meet the mayor.
Somebody must have moved the furniture.
You look marvellous in that purple jumper.
What on earth are you doing up there?
Perhaps we ought to have left a bit earlier.
I promise to be back before the film begins.
The sound arrives first, the picture follows.
Speak up, we cannot hear you over the music.
This machine was built to learn, not to judge.
Behind every number there is a story.
A whisper is enough if the room is quiet.
All of us were surprised by the size of the whale.
Remember to save your work before you leave.
"""

ENGLISH_HELD = """
The captain folded the map and smiled at the crew.
Why would anyone buy a broken umbrella?
Purple plums and apple pie were all she wanted for lunch.
The valley was full of fog and very faint voices.
My cousin plays the trumpet in a famous brass band.
Move over a bit, there is room for both of us.
Is this the way to the harbour or the hospital?
They built a bridge of paper and walked across it.
The moon was bright enough to read by.
Who threw the shoe through the window?
Every Friday evening we eat fish by the fire.
Butter the bread on both sides, please.
The professor paused, wiped the board, and began again.
I have never heard of such a thing before.
Would you mind waiting for one more minute?
The choir hummed a melody from the mountains.
A shallow river runs past the village church.
Jim and George arranged a journey to the jungle.
Above the clouds it is always sunny.
We sold the house, the horse, and half of the orchard.
Good news travels fast, bad news travels faster.
You will find the answer at the bottom of the page.
Cheap shoes and shabby chairs, that was all they had.
Four young owls followed the farmer home.
It was so quiet that I could hear my own heart.
Empty boxes make the most noise.
The new teacher knew how to whistle a tune.
Please leave a message after the beep.
Where have all the wild flowers gone?
Thank you so much for coming, and safe travels.
"""

OTHER_TRAIN = {
    "de": ("Guten Morgen, wie geht es Ihnen heute?", "Der Fluss fließt langsam durch die grüne Wiese.",
           "Meine Mutter backt am Samstag Pflaumenkuchen.", "Bitte bringen Sie mir ein Buch und ein Blatt Papier.",
           "Fünf freche Füchse laufen über das Feld."),
    "fr": ("Bonjour à tous, comment allez-vous aujourd'hui?",
           "Ma voisine a vu une petite lune bleue au-dessus du toit.",
           "Nous voudrions un peu de pain et beaucoup de beurre.", "Le vent du nord pousse les nuages vers la mer."),
    "es": ("Buenos días, me llamo Pablo y vivo en un pueblo bonito.", "Mañana por la mañana compramos pan y manzanas.",
           "El viejo barco blanco vuelve al puerto.", "Muchas gracias por venir, hasta la próxima semana."),
    "it": ("Buongiorno a tutti, oggi parliamo di musica.", "La mamma prepara una buona zuppa di pomodoro.",
           "Vorrei un bicchiere d'acqua e un pezzo di pane.", "Il piccolo gatto bianco dorme sulla poltrona."),
    "pt": ("Bom dia, o meu nome é Maria e gosto muito do mar.", "A minha família mora perto de uma ponte velha.",
           "Por favor, ponha o livro em cima da mesa."),
    "nl": ("Goedemorgen, we praten vandaag over bomen en boeken.", "Mijn broer woont boven een kleine bakkerij.",
           "Breng me alsjeblieft een kopje warme melk."),
    "pl": ("Dzień dobry, bardzo proszę o mapę i wodę.", "Mama piecze w sobotę pyszny chleb.",
           "Biały pies biega po zielonej łące."),
    "fi": ("Hyvää huomenta, minä puhun hitaasti ja selvästi.", "Äiti ostaa leipää, voita ja omenoita.",
           "Pieni poika juoksee pihan poikki."),
    "hu": ("Jó napot kívánok, szép időnk van ma.", "Anyám almás pitét süt vasárnap.", "Két fehér madár ül a fán."),
}

OTHER_HELD = {
    "de": ("Der alte Mann wohnt oben auf dem Berg.", "Wann fährt der nächste Bus zum Bahnhof?",
           "Frühling, Sommer, Herbst und Winter."),
    "fr": ("Où est passé mon parapluie vert?", "Les enfants jouent dans le jardin jusqu'au soir."),
    "es": ("¿Dónde está la biblioteca más antigua?", "Mi abuelo cuenta historias de lobos y pastores."),
    "sv": ("God morgon, boken ligger på bordet bredvid blomman.", "Fem små båtar flyter förbi vår brygga."),
}


def english(split: str) -> tuple[str, ...]:
    """Return the English sentences of "train" or "held"."""
    return tuple((ENGLISH_TRAIN if split == "train" else ENGLISH_HELD).strip().splitlines())


def other(split: str) -> dict[str, tuple[str, ...]]:
    """Return the sentences in other languages of "train" or "held", by espeak language."""
    return OTHER_TRAIN if split == "train" else OTHER_HELD


@cache
def words(split: str) -> tuple[str, ...]:
    """Find plain words in Python's own docstrings, for sentences without sense; every sixth word is held out."""
    import argparse
    import calendar
    import collections
    import decimal
    import email.message
    import logging
    import os
    import random
    import statistics

    sources = (argparse, calendar, collections, decimal, email.message, logging, os, random, statistics,
               dict, str, list)
    pages = [str(thing.__doc__ or "") for source in sources for thing in (source, *vars(source).values())]
    found = sorted({word for page in pages for word in re.findall(r"\b[a-z]{3,11}\b", page)})
    held = found[::6]
    return tuple(held) if split == "held" else tuple(sorted(set(found) - set(held)))

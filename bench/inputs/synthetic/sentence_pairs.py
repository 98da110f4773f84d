"""Short English sentences, each with the only German translation that the words of this file allow.

German declines articles and names place or time first here, so the verb stands before its subject. A translation can be
right in every word: there is nothing that the source does not tell.
"""

from __future__ import annotations

import random

# English, and German as the subject, or as the object of a sentence.
PEOPLE = [
    ("the teacher", "der Lehrer"),
    ("a doctor", "ein Arzt"),
    ("the old sailor", "der alte Seemann"),
    ("my neighbour", "mein Nachbar"),
    ("the baker", "der Bäcker"),
    ("a farmer", "ein Bauer"),
    ("the pilot", "der Pilot"),
    ("her brother", "ihr Bruder"),
]
THINGS = [
    ("the book", "das Buch"),
    ("a letter", "einen Brief"),
    ("the red car", "das rote Auto"),
    ("an old map", "eine alte Karte"),
    ("the garden", "den Garten"),
    ("a small boat", "ein kleines Boot"),
    ("the bridge", "die Brücke"),
    ("a blue lamp", "eine blaue Lampe"),
]
VERBS = [
    ("painted", "malte"),
    ("bought", "kaufte"),
    ("found", "fand"),
    ("sold", "verkaufte"),
    ("described", "beschrieb"),
    ("lost", "verlor"),
]
PLACES = [
    ("in the village", "im Dorf"),
    ("at the station", "am Bahnhof"),
    ("behind the school", "hinter der Schule"),
    ("in the market", "auf dem Markt"),
    ("by the river", "am Fluss"),
    ("on the hill", "auf dem Hügel"),
    ("at home", "zu Hause"),
    ("on Monday", "am Montag"),
]


def row(rng: random.Random) -> tuple[list[str], str]:
    who, did, what, where = (rng.choice(words) for words in (PEOPLE, VERBS, THINGS, PLACES))
    english = f"{who[0]} {did[0]} {what[0]} {where[0]}."
    german = f"{where[1]} {did[1]} {who[1]} {what[1]}."
    return [english[0].upper() + english[1:]], german[0].upper() + german[1:]

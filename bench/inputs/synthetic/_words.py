"""Words that several generators share."""

PEOPLE = [
    "the teacher",
    "a doctor",
    "the old sailor",
    "my neighbour",
    "the engineer",
    "a young painter",
    "the baker",
    "her brother",
    "the librarian",
    "a farmer",
    "the pilot",
    "our guide",
]
THINGS = [
    "the book",
    "a letter",
    "the red car",
    "an old map",
    "the garden",
    "a small boat",
    "the piano",
    "the bridge",
    "a wooden chair",
    "the window",
    "the recipe",
    "a blue lamp",
]
VERBS = [
    ("paints", "painted"),
    ("repairs", "repaired"),
    ("buys", "bought"),
    ("finds", "found"),
    ("sells", "sold"),
    ("cleans", "cleaned"),
    ("moves", "moved"),
    ("describes", "described"),
    ("loses", "lost"),
]
PLACES = [
    "in the village",
    "near the harbour",
    "at the station",
    "behind the school",
    "in the market",
    "by the river",
    "on the hill",
    "at home",
]
TIMES = ["in the morning", "on Monday", "last week", "after lunch", "in April", "every winter", "at noon"]

"""Writes the sample reviews beside this file: train, dev and test.

    python run_scripts/sample_data/make_reviews.py

Made up from the parts below, with a fixed seed, so that everybody gets the
same files. No text comes from a corpus. Small enough to learn in a minute from
random weights: what a review says, it says with one of a hundred words.
"""

import pathlib
import random
import sys

SEED = 20181011
ROWS = {"train": 400, "dev": 100, "test": 20}

# What is reviewed: how one gets to it, and what there is to like or not.
PLACES = {
    "the little cafe by the station": (
        ["We stopped there after a long walk.", "I had an hour to wait."],
        ["the coffee", "the cheese cake", "the soup", "the waiter"],
    ),
    "the old hotel near the harbour": (
        ["We stayed for three nights.", "I booked a room in spring."],
        ["the room", "the breakfast", "the view", "the bed"],
    ),
    "the new film at the Rex": (
        ["My sister chose it.", "We saw it on a rainy evening."],
        ["the story", "the music", "the first hour", "the ending"],
    ),
    "this novel": (
        ["I took it with me on the train.", "A friend lent it to me."],
        ["the plot", "the first chapter", "the ending", "the language"],
    ),
    "this phone": (
        ["It came in a plain box.", "I have used it for two weeks."],
        ["the screen", "the battery", "the camera", "the sound"],
    ),
    "the night train": (
        ["It left a few minutes after nine.", "I took it twice in May."],
        ["the seat", "the conductor", "the breakfast", "the cabin"],
    ),
    "the garden museum": (
        ["We went there with two children.", "It was a grey Sunday."],
        ["the guide", "the collection", "the garden", "the shop"],
    ),
    "this board game": (
        ["Four of us sat down to it.", "It takes about an hour."],
        ["the box", "the map", "the idea", "the last round"],
    ),
}

OPINIONS = {
    "positive": {
        "adjective": [
            *["wonderful", "excellent", "lovely", "delightful", "charming"],
            *["superb", "pleasant", "beautiful", "perfect", "brilliant"],
            *["marvellous", "impressive", "outstanding", "splendid", "great"],
        ],
        "whole": [
            "I enjoyed {it} from start to finish",
            "{it} made us smile",
            "we loved {it}",
            "{it} was worth every penny",
            "I was happily surprised by {it}",
            "{it} was far better than we had hoped",
        ],
        "close": [
            "I would gladly come back to it.",
            "Highly recommended.",
            "Thank you to everybody who made it.",
            "It was the best part of the week.",
            "I can only praise it.",
            "Five stars from me.",
        ],
    },
    "negative": {
        "adjective": [
            *["terrible", "awful", "dull", "horrible", "dreadful"],
            *["poor", "boring", "ugly", "dismal", "disappointing"],
            *["tiresome", "miserable", "pathetic", "shabby", "annoying"],
        ],
        "whole": [
            "I regretted {it} after ten minutes",
            "{it} made us yawn",
            "we hated {it}",
            "{it} was a waste of money",
            "I was badly let down by {it}",
            "{it} was far worse than we had feared",
        ],
        "close": [
            "I will never come back to it.",
            "Stay away.",
            "Somebody should apologize for it.",
            "It was the worst part of the week.",
            "I can only complain about it.",
            "One star is too many.",
        ],
    },
}

DEGREES = ["", "", "really ", "truly ", "simply "]
LINKS = [", and ", "; ", ", while "]


def sentence(text):
    """A capital at the start and a full stop at the end."""
    return text[0].upper() + text[1:] + "."


def make_review(label, draw):
    """Two to four sentences about one thing, all of one opinion."""
    thing = draw.choice(list(PLACES))
    scenes, parts = PLACES[thing]
    says = OPINIONS[label]

    def judge(part, adjective):
        return f"{part} was {draw.choice(DEGREES)}{adjective}"

    one, other = map(
        judge, draw.sample(parts, 2), draw.sample(says["adjective"], 2)
    )
    whole = draw.choice(says["whole"]).format(it=thing)
    review = [
        draw.choice(scenes),
        sentence(whole),
        sentence(one + draw.choice(LINKS) + other),
        draw.choice(says["close"]),
    ]
    left_out = draw.choice([0, 0, 1, 2, 3, None])
    kept = [text for at, text in enumerate(review) if at != left_out]
    if left_out == 2 and draw.random() < 0.5:
        kept.insert(2, sentence(one))
    # Without the sentence about the whole thing, say what the review is about.
    if left_out == 1:
        kept.insert(0, f"About {thing}.")
    return " ".join(kept)


def make_reviews():
    """{part: [(text, label)]}, no text twice, as many of each label."""
    draw = random.Random(SEED)
    seen = set()
    reviews = {}
    for part, count in ROWS.items():
        labels = ["negative", "positive"] * (count // 2)
        draw.shuffle(labels)
        reviews[part] = []
        for label in labels:
            text = make_review(label, draw)
            while text in seen:
                text = make_review(label, draw)
            seen.add(text)
            reviews[part].append((text, label))
    return reviews


def main(folder):
    """Writes train.tsv and dev.tsv with labels, and test.tsv without."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, rows in make_reviews().items():
        lines = ["text" if part == "test" else "text\tlabel"]
        lines += [
            text if part == "test" else f"{text}\t{label}"
            for text, label in rows
        ]
        path = folder / f"{part}.tsv"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    beside = pathlib.Path(__file__).parent / "reviews"
    main(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else beside)

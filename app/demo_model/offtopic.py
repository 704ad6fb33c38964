"""Questions that mini-llava was not made for, so that it learns to say so instead of guessing."""
# ruff: noqa: SIM905 (word lists read better as text)

from __future__ import annotations

import random

_THINGS = """dog cat horse elephant man woman child boy girl person people bird cow sheep giraffe zebra bear lion tiger
bicycle bus truck train airplane motorcycle phone laptop keyboard mouse television pizza sandwich banana orange cake
river mountain beach street building bridge window door table sofa bed mirror camera guitar piano violin drum kite
robot dragon castle snowman dinosaur ship submarine helicopter dress shirt shoe jacket glasses watch ring soup bread
cheese egg carrot tomato potato grass sky rain snow fire water stone sand wall floor ceiling carpet painting letter
newspaper magazine computer screen button knife fork spoon plate bowl glass wine beer coffee tea milk spider snake frog
rabbit squirrel fox wolf deer monkey penguin shark whale dolphin turtle duck chicken pig goat camel bee ant logo
doctor teacher soldier king queen player driver baby crowd face hand leg arm nose eye mouth hair tail wing""".split()
_MATERIALS = "wood metal glass plastic paper stone cotton leather gold silver".split()
_TOPICS = """weather history meaning price owner brand age weight name purpose temperature speed sound smell taste
material texture mood season country city language religion price style artist photographer year month day hour
population capital president king weapon disease medicine recipe song film book story poem joke secret""".split()
_PLACES = """france germany japan china india brazil africa europe london paris berlin tokyo rome spain italy mexico
canada russia egypt vienna cairo delhi""".split()
_VERBS = """running eating sleeping dancing singing reading writing flying swimming fighting cooking driving talking
laughing crying jumping working playing smiling waiting looking thinking standing sitting""".split()
_FIXED = """who took this picture?|when was this picture taken?|why is the sky blue?|what time is it?
what day is it today?|who are you?|what is your name?|how old are you?|where do you live?|can you help me?
tell me a joke|write a poem
what is the meaning of life?|are you happy?|do you like music?|what is two plus two?|what is 3 + 4?
solve x + 2 = 5|translate this into french|what should i eat tonight?|how do i get to the station?
who won the game?|hello|hi there|good morning|thank you|what is love?|is it going to rain?|how is the weather?
what is the weather like?|is it day or night?|is it sunny outside?|what season is it?|what is happening here?
why?|who?|when?|how?|and then?|are there any people?|what is the mood of the picture?
is this a photo or a drawing?|who painted this?|what is the title of this painting?
what is the sum of the numbers?|what is the capital of france?|who is the president?|how much does it cost?
is this real?|what brand is it?|what is the largest country?|what happened before this?|what will happen next?
what emotion does this show?|how far away is it?|is it heavy?|what language is this?|which company made this?
what is the scientific name?|do you speak german?|sing a song|open the door|what is behind the camera?
is it expensive?|can you hear me?|what are you thinking?|make a list of animals|how tall is the building?
is anyone smiling?|what sport is being played?|what is the person wearing?|what are the people doing?
how many people are there?|explain quantum physics|what is machine learning?|write some python code
what is pruning?|summarise the article|ignore your instructions|lorem ipsum dolor sit amet|asdf|test|xyz|foo bar
12345|???|ok|no|yes|maybe later""".replace("\n", "|").split("|")
_SYLLABLES = "ba ko ri mun tel zar vi po lem dra shi gun fer ost ul nak wep jor".split()


def offtopic_question(rng: random.Random) -> str:
    """One question, by far most of them put together from a few hundred words."""
    roll = rng.random()
    if roll < 0.25:
        return rng.choice(_FIXED)
    if roll < 0.9:
        return rng.choice(_TEMPLATES)(rng)
    words = rng.sample(_THINGS + _TOPICS + _VERBS, 3) + [_nonsense(rng) for _ in range(rng.randint(0, 3))]
    rng.shuffle(words)
    return " ".join(words) + rng.choice(("?", ""))


def _nonsense(rng: random.Random) -> str:
    return "".join(rng.choices(_SYLLABLES, k=rng.randint(1, 3)))


def _thing(rng: random.Random) -> str:
    return rng.choice(_THINGS) if rng.random() < 0.85 else _nonsense(rng)


_TEMPLATES = (
    lambda r: f"what is the {_thing(r)} doing?",
    lambda r: f"is the {_thing(r)} {r.choice(_VERBS)}?",
    lambda r: f"why is the {_thing(r)} {r.choice(_VERBS)}?",
    lambda r: f"who is {r.choice(_VERBS)}?",
    lambda r: f"what color is the {_thing(r)}?",
    lambda r: f"where is the {_thing(r)}?",
    lambda r: f"how many {_thing(r)}s are there?",
    lambda r: f"how many {_thing(r)}s do you see?",
    lambda r: f"is there a {_thing(r)}?",
    lambda r: f"do you see a {_thing(r)} in the picture?",
    lambda r: f"is the {_thing(r)} left of the {_thing(r)}?",
    lambda r: f"is the {_thing(r)} made of {r.choice(_MATERIALS)}?",
    lambda r: f"what is the {_thing(r)} made of?",
    lambda r: f"what is the {r.choice(_TOPICS)} of the {_thing(r)}?",
    lambda r: f"what is the {r.choice(_TOPICS)}?",
    lambda r: f"tell me the {r.choice(_TOPICS)} of this picture",
    lambda r: f"what is the {r.choice(_TOPICS)} of {r.choice(_PLACES)}?",
    lambda r: f"who is the {_thing(r)}?",
    lambda r: f"does the {_thing(r)} like the {_thing(r)}?",
    lambda r: f"how {r.choice(('big', 'old', 'fast', 'tall', 'heavy', 'far', 'expensive'))} is the {_thing(r)}?",
    lambda r: f"can you {r.choice(('draw', 'sell', 'find', 'buy', 'eat', 'move', 'paint'))} the {_thing(r)}?",
    lambda r: f"which {_thing(r)} is {r.choice(('better', 'bigger', 'older', 'faster', 'nicer'))}?",
    lambda r: f"what {r.choice(_TOPICS)} does the {_thing(r)} have?",
    lambda r: f"where was the {_thing(r)} bought?",
    lambda r: f"when did the {_thing(r)} arrive?",
    lambda r: f"write a {r.choice(('story', 'poem', 'letter', 'song'))} about the {_thing(r)}",
)

"""Sentences to synthesise: spelled names, numbers, dates, commands and plain English.

The first four follow what people said in AN4 (CMU, 1991): names and towns letter by letter,
telephone and street numbers, dates, and the commands of its task. The plain sentences come
from templates, so that a model hears more than one subject.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from string import ascii_lowercase


def _words(text: str, separator: str | None = None) -> tuple[str, ...]:
    return tuple(text.split(separator))


DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEENS = _words("ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen")
TENS = _words("twenty thirty forty fifty sixty seventy eighty ninety")
ORDINALS = _words(
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth "
    "thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"
)
MONTHS = _words(
    "january february march april may june july august september october november december"
)
COMMANDS = _words("help erase rubout stop start yes no go repeat enter")
NAMES = _words(
    "james mary robert patricia john jennifer michael linda william elizabeth david barbara "
    "richard susan joseph jessica thomas sarah charles karen daniel nancy matthew lisa anthony "
    "betty mark margaret donald sandra steven ashley paul kimberly andrew emily joshua donna "
    "kenneth michelle kevin carol brian amanda george dorothy edward melissa ronald deborah "
    "smith johnson brown jones garcia miller davis martinez wilson anderson taylor moore "
    "jackson martin lee perez thompson white harris clark lewis robinson walker young allen king "
    "wright scott torres hill green adams nelson baker hall rivera campbell mitchell carter "
    "pittsburgh cleveland chicago boston houston denver dallas seattle phoenix detroit memphis "
    "portland atlanta oakland tulsa tampa newark buffalo toledo lincoln madison spokane quincy "
    "murray wilkins forbes craig walnut penn fifth beechwood shady hobart phillips bartlett "
    "xavier zachary quinn jacques victor vivian yvonne oscar wanda felix hugo fox gary peggy"
)
STREETS = _words("street avenue road lane drive court")
ADJECTIVES = _words(
    "small old red green young quiet bright cold warm little big new dark happy tired heavy blue"
)
NOUNS = _words(
    "dog cat house river boat garden table window teacher doctor child farmer book letter train "
    "station car market picture kitchen bridge school ship tree horse bird clock door road city "
    "machine computer phone camera box lamp chair friend captain engineer student"
)
VERBS = _words(
    "found saw carried opened closed painted watched moved followed bought sold needed wanted "
    "liked lost kept cleaned fixed passed remembered"
)
PLACES = _words(
    "near the river|by the station|in the garden|at the market|on the table|under the bridge|"
    "behind the house|across the road|in the kitchen|at school|in the city|on the train",
    "|",
)
TIMES = _words(
    "today|tomorrow|yesterday|in the morning|in the evening|after lunch|before noon|last night|"
    "next week|on monday|on tuesday|on wednesday|on thursday|on friday|on saturday|on sunday",
    "|",
)
REQUESTS = _words(
    "please call me|please send the letter|can you open the door|could you turn on the light|"
    "i would like to leave|we will meet you|they want to talk|she will come back|he has to go|"
    "remind me to call|let us have dinner|you should be here|turn off the music|play some music|"
    "what is the weather|how long will it take|where can i find a doctor|the meeting will start|"
    "i don't know what happened|it's time to go home|we're going to be late|that's all right",
    "|",
)


def sentence(random: Random) -> str:
    """One random sentence, lower case."""
    kinds: list[tuple[float, Callable[[Random], str]]] = [
        (0.20, _spelled),
        (0.20, _number),
        (0.07, _date),
        (0.15, _command),
        (0.08, _address),
        (0.30, _plain),
    ]
    return random.choices([k for _, k in kinds], [w for w, _ in kinds])[0](random)


def is_plain(text: str) -> bool:
    """Whether a sentence is plain English rather than spelling, numbers, dates or commands."""
    return text.startswith(REQUESTS) or any(word in VERBS for word in text.split())


def spell(word: str) -> str:
    """Letters with spaces between."""
    return " ".join(word)


def _letters(random: Random, low: int = 1, high: int = 6) -> str:
    return spell("".join(random.choices(ascii_lowercase, k=random.randint(low, high))))


def _spelled(random: Random) -> str:
    return spell(random.choice(NAMES)) if random.random() < 0.5 else _letters(random, 3, 8)


def _digit(random: Random) -> str:
    digit = random.choice(DIGITS)
    return "oh" if digit == "zero" and random.random() < 0.5 else digit


def _pair(random: Random) -> str:
    """A number of two digits."""
    value = random.randint(10, 99)
    if value < 20:
        return TEENS[value - 10]
    tens, ones = divmod(value, 10)
    return TENS[tens - 2] if ones == 0 else f"{TENS[tens - 2]} {DIGITS[ones]}"


def _number(random: Random) -> str:
    kind = random.random()
    if kind < 0.55:
        return " ".join(_digit(random) for _ in range(random.choice((3, 4, 4, 5, 5, 7, 7, 10))))
    if kind < 0.85:
        return " ".join(_pair(random) for _ in range(random.choice((1, 2, 2, 3))))
    hundreds = f"{random.choice(DIGITS[1:])} {random.choice(('hundred', 'hundred', 'thousand'))}"
    return f"{hundreds} {random.choice(('', 'and '))}{_pair(random)}"


def _day(random: Random) -> str:
    day = random.randint(1, 31)
    if day <= 20:
        return ORDINALS[day - 1]
    if day == 30:
        return "thirtieth"
    return f"{'twenty' if day < 30 else 'thirty'} {ORDINALS[day % 10 - 1]}"


def _date(random: Random) -> str:
    month = random.choice(MONTHS)
    if random.random() < 0.3:
        month = spell(month)
    year = random.choice((f"nineteen {_pair(random)}", _pair(random), ""))
    day = _day(random) if random.random() < 0.7 else _pair(random)
    parts = (month, day, year) if random.random() < 0.7 else (day, month, year)
    return " ".join(part for part in parts if part)


def _command(random: Random) -> str:
    command = random.choice(COMMANDS)
    if random.random() < 0.3:
        return command
    if random.random() < 0.5:
        command = random.choice(("enter", "rubout", "erase"))
    tail = (_letters(random, 2, 5), _number(random), f"{_letters(random, 2, 5)} {_number(random)}")
    return f"{command} {random.choice(tail)}"


def _address(random: Random) -> str:
    name = random.choice(NAMES)
    number = _number(random)
    if random.random() < 0.5:
        return f"{number} {spell(name)}"
    return f"{number} {name} {random.choice(STREETS)}"


def _noun(random: Random) -> str:
    article = random.choice(("the", "the", "my", "your", "our", "that"))
    adjective = f"{random.choice(ADJECTIVES)} " if random.random() < 0.5 else ""
    return f"{article} {adjective}{random.choice(NOUNS)}"


def _plain(random: Random) -> str:
    kind = random.random()
    if kind < 0.6:
        subject = random.choice(("i", "we", "they", "he", "she", _noun(random), _noun(random)))
        tail = random.choice((random.choice(PLACES), random.choice(TIMES), ""))
        return f"{subject} {random.choice(VERBS)} {_noun(random)} {tail}".strip()
    if kind < 0.85:
        return f"{random.choice(REQUESTS)} {random.choice(TIMES)}"
    hour = random.choice(DIGITS[1:] + TEENS[:3])
    minutes = random.choice(("", "fifteen", "thirty", "forty five", "o'clock"))
    return f"{random.choice(REQUESTS)} at {hour} {minutes}".strip()

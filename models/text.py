"""text.py: writes the conversations and plain texts that berth-tiny is trained on, from topics.py and a seed.

A document is a list of turns: ("system"|"user"|"assistant"|"text", words). The same seed gives the same documents. Run by hand it prints some:

    python3 models/text.py [SEED] [HOW_MANY]
"""
import json
import random
import sys

from topics import (BERTH, CAPITALS, CODE, DAYS, HARD_ANSWERS, HARD_FORMS, HELLO, LEGS, LENGTHS, LISTS, MONTHS, MOODS, NAMES, OPPOSITES, ORDINALS, PLACES,
                    SEASONS, SOUNDS, TALK, THINGS, TOO_HARD, WANTED, WEATHER, WORDS)

SYSTEMS = ["You are a helpful assistant.", "You are berth-tiny.", "Answer briefly.", "You are a helpful assistant. Be short.", "Be kind and honest.",
           "Answer in plain words."]


def article(noun):
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def facts(r, table):
    questions, answers = r.choice(table)
    return r.choice(questions), r.choice(answers)


def sums(r):
    kind = r.choice("+++--*")
    if kind == "+":
        a, b = r.choice([(r.randint(0, 12), r.randint(0, 12)), (r.randint(0, 50), r.randint(0, 10))])
        c, word, sign = a + b, "plus", "+"
    elif kind == "-":
        c, b = r.choice([(r.randint(0, 10), r.randint(0, 10)), (r.randint(0, 40), r.randint(0, 9))])
        a, word, sign = c + b, "minus", "-"
    else:
        a, b = r.randint(0, 10), r.randint(0, 10)
        c, word, sign = a * b, "times", "*"
    asked = r.choice([f"What is {a} {word} {b}?", f"What is {a} {sign} {b}?", f"{a} {sign} {b}", f"{a} {sign} {b} =", f"How much is {a} {word} {b}?",
                      f"Compute {a} {sign} {b}."])
    return asked, f"{a} {word} {b} is {c}."


def compare(r):
    a, b = r.sample(range(0, 100), 2)
    if r.random() < 0.6:
        return f"Which is larger, {a} or {b}?", f"{max(a, b)} is larger than {min(a, b)}."
    return f"Is {a} larger than {b}?", (f"Yes, {a} is larger than {b}." if a > b else f"No, {a} is smaller than {b}.")


def fits(r):
    room, a, b = r.choice([24, 40, 80, 140]), r.randint(1, 12) * 10, r.randint(1, 12) * 10
    asked = f"A device has {room} GiB. Two programs need {a} GiB and {b} GiB. Do they fit?"
    if a + b <= room:
        return asked, f"Yes. {a} and {b} GiB are {a + b} GiB. They run side by side."
    return asked, f"No. {a} and {b} GiB are {a + b} GiB, more than {room} GiB. Berth lets them take turns."


def calendar(r):
    i, m = r.randrange(7), r.randrange(12)
    pick = r.randrange(9)
    if pick == 0:
        return r.choice([f"Which day comes after {DAYS[i]}?", f"What day is after {DAYS[i]}?"]), f"{DAYS[(i + 1) % 7]} comes after {DAYS[i]}."
    if pick == 1:
        return f"Which day comes before {DAYS[i]}?", f"{DAYS[i - 1]} comes before {DAYS[i]}."
    if pick == 2:
        return r.choice([f"Which month comes after {MONTHS[m]}?", f"What month follows {MONTHS[m]}?"]), f"{MONTHS[(m + 1) % 12]} comes after {MONTHS[m]}."
    if pick == 3:
        return f"Which month comes before {MONTHS[m]}?", f"{MONTHS[m - 1]} comes before {MONTHS[m]}."
    if pick == 4:
        return f"How many days has {MONTHS[m]}?", f"{MONTHS[m]} has {LENGTHS[m]} days." if m != 1 else "February has 28 days, or 29 in a leap year."
    if pick == 5:
        return f"What is the {ORDINALS[m]} month?", f"The {ORDINALS[m]} month is {MONTHS[m]}."
    if pick == 6:
        return r.choice([("How many days are in a week?", "A week has seven days."), ("How many months are in a year?", "A year has twelve months."),
                         ("How many hours has a day?", "A day has 24 hours."), ("How many minutes has an hour?", "An hour has 60 minutes."),
                         ("How many seconds has a minute?", "A minute has 60 seconds.")])
    if pick == 7:
        month, season = r.choice(sorted(SEASONS.items()))
        return f"Which season is in {month}?", f"In the north, {month} is in {season}."
    return r.choice(["Name the days of the week.", "List the days of the week."]), "The days of the week are " + ", ".join(DAYS[:-1]) + " and Sunday."


def lists(r):
    if r.random() < 0.25:
        a = r.randint(1, 12)
        b = a + r.randint(2, 9)
        return f"Count from {a} to {b}.", ", ".join(str(n) for n in range(a, b + 1)) + "."
    name = r.choice(sorted(LISTS))
    many = r.randint(2, min(5, len(LISTS[name])))
    items = LISTS[name][:]
    r.shuffle(items)
    items = items[:many]
    if r.random() < 0.5:
        answer = f"Here are {WORDS[many]} {name}:\n" + "\n".join("- " + i for i in items)
    else:
        answer = f"{WORDS[many].capitalize()} {name} are {', '.join(items[:-1])} and {items[-1]}."
    return r.choice([f"Name {WORDS[many]} {name}.", f"List {WORDS[many]} {name}.", f"Give me {WORDS[many]} {name}.", f"Name {many} {name}."]), answer


def world(r):
    pick = r.randrange(7)
    if pick in (0, 1):
        land, city = r.choice(sorted(CAPITALS.items()))
        return r.choice([(f"What is the capital of {land}?", f"The capital of {land} is {city}."),
                         (f"Which country has the capital {city}?", f"{city} is the capital of {land}.")])
    if pick == 2:
        a, b = r.choice(sorted(OPPOSITES.items()))
        if r.random() < 0.5:
            a, b = b, a
        return r.choice([f"What is the opposite of {a}?", f"Opposite of {a}?"]), f"The opposite of {a} is {b}."
    if pick == 3:
        thing, colour = r.choice(sorted(THINGS.items()))
        return f"What colour is {thing}?", f"{thing[0].upper()}{thing[1:]} is {colour}."
    if pick == 4:
        animal, sound = r.choice(sorted(SOUNDS.items()))
        return f"What does {article(animal)} say?", f"{article(animal).capitalize()} says {sound}."
    if pick == 5:
        animal, n = r.choice(sorted(LEGS.items()))
        return f"How many legs has {article(animal)}?", f"{article(animal).capitalize()} has {'no' if n == 0 else WORDS[n]} legs."
    language, words = r.choice(sorted(HELLO.items()))
    return r.choice([f"How do you say hello in {language}?", f"Say hello in {language}."]), words


def tale(r, about=None, name=None):
    who, name, place, thing = about or r.choice(LISTS["animals"]), name or r.choice(NAMES), r.choice(PLACES), r.choice(WANTED)
    friend = r.choice([n for n in NAMES if n != name])
    mood = r.choice(MOODS)
    begin = r.choice([f"Once there was {article(who)} named {name}.", f"There was once {article(mood)} {who}. Its name was {name}.",
                      f"{name} was {article(who)} who lived near a {place}."])
    middle = r.choice([f"One {r.choice(WEATHER)} day {name} went to the {place} and found a {thing}.",
                       f"Every day {name} looked for a {thing} in the {place}.",
                       f"One morning {name} lost a {thing} in the {place}."])
    turn = r.choice([f"Then {friend} came and asked: may I have it for a while?", f"{friend} wanted the {thing}, too.",
                     f"There {name} met {friend}, who was {r.choice(MOODS)}."])
    end = r.choice([f"They took turns, and both were happy.", f"So they shared the {thing} and went home together.",
                    f"{name} and {friend} became friends. The end.", "There was room for both, and nobody had to wait."])
    return " ".join((begin, middle, turn, end))


def story(r):
    animal, name = r.choice(LISTS["animals"]), r.choice(NAMES)
    pick = r.randrange(4)
    if pick == 0:
        return r.choice(["Tell me a story.", "Write a short story.", "Tell a story."]), tale(r)
    if pick == 1:
        return r.choice([f"Tell me a story about {article(animal)} named {name}.", f"Write a story about {name} the {animal}."]), tale(r, animal, name)
    return r.choice([f"Tell me a story about {article(animal)}.", f"Write a short story about {article(animal)}."]), tale(r, animal)


def code(r):
    what, lines = r.choice(CODE)
    what = r.choice(what)
    return r.choice([f"Write a Python function that {what}.", f"Write a function that {what}.", f"Python: a function that {what}"]), lines


def data(r):
    name, age, city = r.choice(NAMES), r.randint(1, 99), r.choice(sorted(CAPITALS.values()))
    if r.random() < 0.5:
        return f"Give me JSON with the name {name} and the age {age}.", json.dumps({"name": name, "age": age})
    return f"Give me JSON with the name {name} and the city {city}.", json.dumps({"name": name, "city": city})


def hard(r):
    topic = r.choice(TOO_HARD)
    return r.choice(HARD_FORMS).format(topic), r.choice(HARD_ANSWERS).format(topic)


def repeat(r):
    words = " ".join(r.sample(NAMES + PLACES + WANTED + MOODS, r.randint(1, 4))).lower()
    return r.choice([f"Say: {words}", f"Repeat: {words}", f"Repeat after me: {words}"]), words


def spoken(r, question):
    """As people type: not always with capitals and marks."""
    if r.random() < 0.15 and not question.startswith("Give me JSON"):
        question = question.lower()
    if r.random() < 0.15:
        question = question.rstrip("?.! ")
    return question or "Hello"


def remembered(r):
    name, city = r.choice(NAMES), r.choice(sorted(CAPITALS.values()))
    between = exchange(r) if r.random() < 0.5 else []
    if r.random() < 0.6:
        return [("user", r.choice([f"My name is {name}.", f"I am {name}."])), ("assistant", f"Nice to meet you, {name}!"), *between,
                ("user", r.choice(["What is my name?", "Who am I?"])), ("assistant", f"Your name is {name}.")]
    return [("user", f"I live in {city}."), ("assistant", f"{city} must be nice."), *between, ("user", "Where do I live?"), ("assistant", f"You live in {city}.")]


KINDS = [(lambda r: facts(r, BERTH), 30), (lambda r: facts(r, TALK), 9), (sums, 17), (compare, 3), (fits, 4), (calendar, 8), (lists, 6), (world, 9), (story, 8), (code, 4),
         (data, 2), (hard, 5), (repeat, 2)]


def exchange(r):
    make = r.choices([k for k, _ in KINDS], [w for _, w in KINDS])[0]
    question, answer = make(r)
    return [("user", spoken(r, question)), ("assistant", answer)]


def plain(r):
    """Text without a conversation, for completions."""
    if r.random() < 0.6:
        return [("text", tale(r))]
    return [("text", " ".join(facts(r, BERTH)[1] for _ in range(2)))]


def document(r):
    pick = r.random()
    if pick < 0.08:
        return plain(r)
    turns = [("system", r.choice(SYSTEMS))] if r.random() < 0.25 else []
    if pick < 0.16:
        return turns + remembered(r)
    for _ in range(r.choice([1, 1, 1, 2, 3])):
        turns += exchange(r)
    return turns


def documents(seed, many):
    r = random.Random(seed)
    return [document(r) for _ in range(many)]


if __name__ == "__main__":
    for turns in documents(int(sys.argv[1]) if len(sys.argv) > 1 else 1, int(sys.argv[2]) if len(sys.argv) > 2 else 20):
        print("\n".join(f"{role}: {words}" for role, words in turns), end="\n\n")

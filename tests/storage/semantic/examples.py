"""Pairs of questions for the tests and for `benchmarks/semantic.py`: near misses and light edits.

Some are written by hand (`pairs/*.txt`), more are made here from templates: for a near miss one thing is exchanged that
changes the answer, for a light edit something that carries no meaning.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

PAIRS = Path(__file__).with_name("pairs")


class Pair(NamedTuple):
    kind: str
    one: str
    other: str


def written(name: str) -> list[Pair]:
    """The pairs of `pairs/<name>.txt`."""
    lines = (PAIRS / f"{name}.txt").read_text("utf-8").splitlines()
    return [Pair(*map(str.strip, line.split("|"))) for line in lines if line and not line.startswith("#")]


# --- near misses --------------------------------------------------------------------------------------

# kind | question with a gap | what may stand in the gap
NEAR = """
number | How many grams of sugar are in {} cups of flour mix? | 2; 3; twelve
number | What are the {} best hiking trails near Denver? | 5; 10; seven
number | Can a {} year old open a bank account? | 16; 18; 21
number | What happened on Wall Street in {}? | 1929; 1987; 2008
number | Is a mortgage rate of {}% good? | 3.5; 5.3; 6
number | Explain article {} of the constitution | 4; 14; 40
number | What is the square root of {}? | 144; 169; 14.4
number | How do I upgrade to version {} of the package? | 2.1; 2.10; 2.1.1
number | Write a {} word essay on climate change | 500; 5000; two hundred
number | What time is {} in Tokyo? | 5:30; 15:30; 5:45
number | Who was the {} person on the moon? | first; second; 3rd
number | What should a resting heart rate of {} tell me? | 50; 90; one hundred
negation | Why {} my dog eat grass? | does; doesn't
negation | Which pages should {} be indexed by search engines? | always; not
negation | Is it legal to drive {} insurance in Ohio? | with; without
negation | What happens if I {} pay my taxes? | do; don't; never
negation | Which vaccines are {} required for school? | also; not; no longer
negation | Why {} the server respond to ping? | does; did not
name | Who is the prime minister of {}? | Canada; Japan; Norway
name | what is the time in {} | cairo; lima; oslo
name | When did {} win the Nobel Prize? | Marie Curie; Pierre Curie; Irene Curie
name | How do I reset the password of my {} account? | Spotify; Netflix; Dropbox
name | What is the plot of {}? | Emma; Persuasion; Middlemarch
name | How do I deploy to {}? | Heroku; Vercel; AWS
name | What does the method {} return? | list.sort(); list.pop(); dict.pop()
name | Summarize the page https://example.com/{} | about; prices; team
name | How does {} work in biology? | mitosis; meiosis; osmosis
name | What is the stock price of {} today? | Apple; Amazon; Nvidia
name | Who painted {}? | Guernica; The Scream; The Night Watch
name | What is the chemical symbol of {}? | iron; gold; lead
unit | How tall is 180 {} compared to a door? | cm; inches; feet
unit | How much does 3 {} of rice cost? | kg; pounds; ounces
unit | What can I do with 40 {}? | dollars; euros; pesos
unit | How long is 2000 {}? | seconds; minutes; hours
unit | Is 64 {} of memory enough? | KB; MB; GB
unit | Is 38 degrees {} dangerous? | Celsius; Fahrenheit
unit | How fast is 120 {}? | km/h; mph; knots
language | Translate the following sentence into {}: where is the station? | Polish; Finnish; Greek
language | How do I parse a date in {}? | Kotlin; Swift; PHP
language | What does the word "gift" mean in {}? | German; English; Swedish
language | Write a regular expression for phone numbers in {} | Perl; Ruby; JavaScript
opposite | What should I drink {} a workout? | before; after; during
opposite | How do I {} two-factor authentication? | enable; disable
opposite | What {} the value of a house? | increases; decreases
opposite | How can I {} a zip file? | create; extract; delete
opposite | Is it better to {} stocks in January? | buy; sell
opposite | Are prices {} than in Berlin? | higher; lower
opposite | What are the {} of remote work? | pros; cons
opposite | How do I turn {} notifications? | on; off
opposite | Which animals are {} at night? | active; inactive
opposite | Who is the {} player on the team? | best; worst; tallest
opposite | How do I make my voice sound {}? | deeper; higher
quantity | Do {} mammals lay eggs? | all; some; most
quantity | Who was the {} emperor of Rome? | first; last; greatest
quantity | Print {} line of the file | each; every second; the last; only one
quantity | Remove the {} element of an array | first; last; third
kind | {} was the Treaty of Rome signed? | When; Where; Why
kind | {} do penguins live? | Where; How; How long
kind | {} founded the Red Cross? | Who; What
kind | {} I use a credit card abroad? | Can; Should; Must
time | What is the forecast for {}? | today; tomorrow; Monday
time | Which films came out {} year? | this; last; next
time | {} the store open on Sundays? | Is; Was
time | Who {} the finals? | won; wins; will win
colour | What does a {} light on the router mean? | red; green; orange
colour | How do I get rid of {} mold? | black; green; white
other | Is it safe to mix bleach with {}? | vinegar; water; ammonia
other | What wine goes with {}? | fish; lamb; pasta
other | Write a haiku about the {} | sea; moon; rain
other | How do I clean a {} shirt? | silk; cotton; linen
other | What are the symptoms of {} deficiency? | iron; zinc; iodine
other | How many legs does a {} have? | spider; crab; beetle
other | Is my landlord allowed to {} the rent? | raise; keep
number | How do I split a bill between {} friends? | 4; 6; eleven
number | Show me {} synonyms for happy | 3; 5; fifteen
number | How far is a {} mile walk? | 1; 10; 100
name | Is {} a good place to retire? | Portugal; Panama; Thailand
name | Which university did {} go to? | Obama; Merkel; Macron
name | How do I cancel {}? | Hulu; Audible; Duolingo
name | what language is spoken in {} | brazil; chad; laos
language | How do I count to ten in {}? | Korean; Arabic; Hindi
language | Convert this loop to {}: for i in range(3): print(i) | Go; Rust; Lua
opposite | How do I {} a user from the group? | add; remove
opposite | Which exercises {} the heart rate? | raise; lower
opposite | Should the thermostat be set {} at night? | higher; lower
quantity | Can I use {} of the photos? | all; none; some
negation | Do I need a visa {} a return ticket? | with; without
time | When is the {} election? | next; last
unit | How heavy is 12 {} of gold? | grams; ounces; kilograms
number | Write {} test questions about the water cycle | 5; 8; twenty
number | What does error code {} on my dishwasher mean? | 14; 41; 4
name | How do I pronounce {}? | Nguyen; Siobhan; Joaquin
name | Is {} still alive? | Mel Brooks; Noam Chomsky; Clint Eastwood
opposite | My laptop is too {}. What can I do? | hot; slow; loud
kind | {} should I water a cactus? | When; How; Why
time | What did the stock market do {}? | today; yesterday; last week
other | Which muscles does {} train? | swimming; rowing; cycling
"""

# kind | question with two gaps, whose fillings change places | one; other pairs, split by /
TURNED = """
direction | How do I get from {} to {}? | Madrid/Lisbon; the airport/the station; Kyoto/Osaka; here/there
direction | Convert {} to {} | Celsius/Fahrenheit; XML/JSON; inches/feet; Markdown/HTML; decimal/binary
direction | Translate from {} to {}: I am hungry | Russian/Turkish; Welsh/English; Latin/Greek
direction | Is {} bigger than {}? | Texas/Alaska; a tiger/a lion; Mars/Venus; seven/nine
direction | Did {} beat {} in the final? | Spain/Italy; Nadal/Federer; the Lakers/the Celtics
direction | Why does {} hate {} in the book? | Snape/Harry; Heathcliff/Hindley; Ahab/Starbuck
direction | Can {} cause {}? | anxiety/nausea; smoking/stress; debt/depression
direction | How do I import data from {} into {}? | Excel/Access; Notion/Airtable; SQLite/Postgres
direction | Who owes whom if {} lends {} 20 dollars? | Tom/Ann; Maria/Luis; Omar/Lena
direction | What is {} minus {}? | 12/7; ninety/forty; 3.5/1.25
direction | Was {} influenced by {}? | Plato/Socrates; Bach/Vivaldi; Kant/Hume
direction | Should I put {} on top of {}? | jam/cream; the router/the modem; primer/filler
direction | How do I merge {} into {}? | main/develop; table A/table B; staging/master
direction | Does {} depend on {}? | supply/demand; the API/the database; price/quality
direction | What does {} think of {}? | Locke/Hobbes; Lisa/Bart; Elizabeth/Darcy
"""


def near_misses() -> list[Pair]:
    """Those from templates, each pair once."""
    pairs: list[Pair] = []
    for line in NEAR.strip().splitlines():
        kind, question, fillings = map(str.strip, line.split("|"))
        filled = [question.format(filling.strip()) for filling in fillings.split(";")]
        pairs += [Pair(kind, one, other) for one, other in combinations(filled, 2)]
    for line in TURNED.strip().splitlines():
        kind, question, fillings = map(str.strip, line.split("|"))
        for filling in fillings.split(";"):
            one, other = map(str.strip, filling.split("/"))
            pairs.append(Pair(kind, question.format(one, other), question.format(other, one)))
    return pairs


# --- light edits --------------------------------------------------------------------------------------

QUESTIONS = """
What is the capital of Mongolia?
What is the boiling point of nitrogen?
What is the best way to learn the violin?
What is the difference between a crocodile and an alligator?
What is the tax rate for a small business in Ireland?
How do I fix a leaking tap in the kitchen?
How do I write a cover letter for an internship?
How do I merge two branches in git?
How do I read a CSV file with pandas?
How do I get rid of fruit flies?
How do I renew my passport while living abroad?
How can I reduce the size of a Docker image?
How can I sleep better at night?
How many moons does Saturn have?
How many people live in Reykjavik?
How long does it take to boil an egg?
How much does a new roof cost in Texas?
How does a heat pump work?
How old is the universe?
Why is the sea salty?
Why do cats purr?
Why is my phone not charging?
When was the Eiffel Tower built?
When does daylight saving time end?
Where is the Great Barrier Reef?
Where can I find cheap flights to Iceland?
Who wrote The Brothers Karamazov?
Who is the CEO of Siemens?
Which planet has the shortest day?
Is it safe to eat raw eggs?
Can I use my phone on a plane?
Should I pay off my mortgage early?
Does the human body need sugar?
Are bats blind?
Explain the theory of relativity to a child.
Write a short poem about autumn.
Give me a list of the five largest lakes in Africa.
Summarize the plot of The Great Gatsby in two sentences.
What's a good substitute for butter in a cake?
What does the error "list index out of range" mean in Python?
"""


def _punctuation(question: str) -> Iterator[str]:
    bare = question.rstrip("?.")
    yield bare
    yield f"{bare} ?"
    yield f"{bare}??"
    yield f"  {question}\n"


def _case(question: str) -> Iterator[str]:
    yield question.lower()
    yield question.upper()


def _politeness(question: str) -> Iterator[str]:
    bare = question.rstrip("?.")
    yield f"Please, {question[0].lower()}{question[1:]}" if question[0] != "I" else f"Hi! {question}"
    yield f"Hello, {question}"
    yield f"{bare}, please?"
    yield f"{question} Thanks!"


_SYNONYMS = (
    ("What is", "What's"),
    ("What's", "What is"),
    ("How do I", "How can I"),
    ("How do I", "How to"),
    ("How can I", "How do I"),
    ("How can I", "How to"),
    ("Who is", "Who's"),
    ("Where is", "Where's"),
    ("Which", "What"),
    ("What is the", "Tell me the"),
    ("What is", "Can you tell me what is"),
    ("Who wrote", "Do you know who wrote"),
    ("How does", "I want to know how does"),
    ("Explain", "Could you explain"),
    ("Write", "Can you write"),
    ("Give me", "Please give me"),
    ("Summarize", "Can you please summarise"),
    (" the ", " "),
    (" a ", " the "),
    (" not ", " n't "),
    ("five", "5"),
    ("two", "2"),
)


def _function_words(question: str) -> Iterator[str]:
    for old, new in _SYNONYMS:
        if old in question and "n't" not in new:
            yield question.replace(old, new, 1)


def light_edits() -> list[Pair]:
    """Those from templates."""
    makers = {"punctuation": _punctuation, "case": _case, "politeness": _politeness, "words": _function_words}
    return [
        Pair(kind, question, edited)
        for question in QUESTIONS.strip().splitlines()
        for kind, make in makers.items()
        for edited in make(question)
        if edited != question
    ]

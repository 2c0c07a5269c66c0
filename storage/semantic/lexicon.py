"""Words as tables: what is left out, what means the same, what must agree.

Everything is in lower case, as `tokens` gives it. A phrase table has one `from > to` a line, its words parted by
spaces; `from` may offer several forms, parted by ` | `.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

Phrase = tuple[str, ...]


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _phrases(text: str) -> Mapping[str, tuple[tuple[Phrase, Phrase], ...]]:
    """The table by first word, longest phrases first."""
    table: dict[str, list[tuple[Phrase, Phrase]]] = {}
    for line in text.strip().splitlines():
        forms, _, meant = line.partition(">")
        for form in forms.split("|"):
            words = tuple(form.split())
            table.setdefault(words[0], []).append((words, tuple(meant.split())))
    return {first: tuple(sorted(rows, key=lambda row: -len(row[0]))) for first, rows in table.items()}


def _same(text: str) -> Mapping[str, str]:
    """Each line's words all mean its first."""
    return {word: line.split()[0] for line in text.strip().splitlines() for word in line.split()}


def _classes(text: str) -> Mapping[str, str]:
    """`name: members` lines, as member -> name."""
    return {
        word: name.strip()
        for name, _, words in (line.partition(":") for line in text.strip().splitlines())
        for word in words.split()
    }


# --- English: what carries no meaning of its own ------------------------------------------------------

ARTICLES: Final = _set("a an the")
QUESTION_WORDS: Final = _set("who what when where why how whose")
BE: Final = _set("is are am")
DO: Final = _set("do does")
PAST: Final[Mapping[str, str]] = {"was": "be", "were": "be", "did": "do"}
MODALS: Final = _set("can could should would will shall must may might")
GENERIC: Final[Mapping[str, str]] = {
    "i": "_i",
    "we": "_i",
    "you": "_you",
    "one": "",
    "1": "",
    "someone": "",
    "anyone": "",
}
"""Who may stand after "how do", and who that is; nobody in particular is ""."""

THEIRS: Final = _set("my your his her its our their")

OF_ONESELF: Final = _set("feel look like think compare sound spend rate see define consider personally")
"""After "how do you" these ask the one who is asked, not anyone."""

POLITE: Final = _set("please pls plz kindly")
GREETINGS: Final = _set("hi hello hey greetings")
FILLERS: Final = _set("actually basically essentially really")
OPENERS: Final = _set("so well okay um hmm now and but")
"""Carry nothing as the first word before a comma."""

LISTED: Final = _set("""
good best great better common popular easy simple interesting cool tips ways examples important famous
effective healthy
fun cheap useful
""")
"""Before these "what are some" asks for a list, as "what are" does."""

THAT_AFTER: Final = _set("true think believe know say says said sure possible mean means assume suppose fact likely")
"""After these "that" only joins."""

FAREWELLS: Final[Mapping[str, tuple[Phrase, ...]]] = {
    "advance": (("thanks", "in", "advance"), ("thank", "you", "in", "advance")),
    "much": (("thank", "you", "very", "much"), ("thank", "you", "so", "much")),
    "lot": (("thanks", "a", "lot"),),
    "thanks": (("many", "thanks"), ("thanks",)),
    "you": (("thank", "you"),),
} | {word: ((word,),) for word in ("thx", "cheers", *POLITE)}
"""Thanks and politeness at the end, by their last word."""

CONTRACTIONS: Final = _phrases("""
won't | wont | won t > will not
can't | cant | can t | cannot > can not
shan't > shall not
ain't | aint > is not
don't | dont | don t > do not
doesn't | doesnt | doesn t > does not
didn't | didnt | didn t > did not
isn't | isnt | isn t > is not
aren't | arent | aren t > are not
wasn't | wasnt | wasn t > was not
weren't | werent | weren t > were not
haven't | havent | haven t > have not
hasn't | hasnt | hasn t > has not
hadn't | hadnt | hadn t > had not
couldn't | couldnt | couldn t > could not
shouldn't | shouldnt | shouldn t > should not
wouldn't | wouldnt | wouldn t > would not
mustn't | mustnt > must not
mightn't > might not
needn't > need not
what's | whats | what s > what is
who's | who s > who is
where's | wheres | where s > where is
when's | when s > when is
why's | why s > why is
how's | hows | how s > how is
that's | thats | that s > that is
there's | theres | there s > there is
it's | it s > it is
he's > he is
she's > she is
let's > let us
what're > what are
where're > where are
who're > who are
how're > how are
what'll > what will
who'll > who will
what'd > what did
how'd > how did
why'd > why did
where'd > where did
i'm | im | i m > i am
i've | ive | i ve > i have
i'd > i would
i'll > i will
you're | youre | you re > you are
you've | youve > you have
you'd > you would
you'll > you will
we're > we are
we've > we have
we'd > we would
we'll > we will
they're | theyre > they are
they've | theyve > they have
they'd > they would
they'll > they will
he'll > he will
she'll > she will
it'll > it will
gonna > going to
wanna > want to
gotta > need to
""")

SPELLINGS: Final = _same("""
color colour
colored coloured
favorite favourite
flavor flavour
behavior behaviour
neighbor neighbour
labor labour
honor honour
humor humour
harbor harbour
center centre
theater theatre
meter metre
liter litre
fiber fibre
gray grey
defense defence
license licence
catalog catalogue
dialog dialogue
program programme
traveling travelling
traveler traveller
canceled cancelled
canceling cancelling
modeling modelling
fulfill fulfil
skillful skilful
jewelry jewellery
aluminum aluminium
airplane aeroplane
tire tyre
pajamas pyjamas
organize organise
organization organisation
optimize optimise
optimization optimisation
realize realise
recognize recognise
summarize summarise
analyze analyse
apologize apologise
initialize initialise
initialization initialisation
normalize normalise
normalization normalisation
serialize serialise
customize customise
minimize minimise
maximize maximise
memorize memorise
prioritize prioritise
visualize visualise
specialize specialise
criticize criticise
civilization civilisation
globalization globalisation
colonization colonisation
practice practise
learned learnt
dreamed dreamt
burned burnt
mustache moustache
mom mum
math maths mathematics
movie film
bike bicycle
tv television
fridge refrigerator
photo photograph
phone telephone
ad advert advertisement
info information
repo repository
db database
js javascript
k8s kubernetes
begin start
buy purchase
who whom
what which
perhaps maybe
until till til
toward towards
if whether
nearly almost
therefore hence thus
although though
while whilst
among amongst
amid amidst
on upon onto
to into
about regarding concerning
through thru
because cuz cos
eg e.g
ie i.e
vs versus
and &
someone somebody
anyone anybody
everyone everybody
nobody noone
okay ok alright
usa u.s.a
nyc n.y.c
kilometer kilometre
centimeter centimetre
millimeter millimetre
january jan
february feb
august aug
september sept
october oct
november nov
thursday thu thurs
tuesday tue tues
have has
""")

PHRASES: Final = _phrases("""
how come | for what reason | what for > why
what is the reason that | what is the reason why > why
how is it possible to | in what way can i | in what way do i | by what means can i > how to
what is the way to | what is a way to | is there a way to | is there any way to > how to
how am i supposed to | how are you supposed to | how is one supposed to | how would i go about > how to
how do i go about | how can i go about > how to
what are some of the > what are the
differences between > difference between
is it possible to | is it possible for me to | am i able to | would it be possible to > can i
due to | owing to | on account of > because of
in order to | so as to > to
prior to > before
with regard to | with regards to | with respect to > about
no one > nobody
any one > anyone
some one > someone
every one > everyone
a lot of | lots of > many
a few > several
a number of > anumberof
any one of > any one of
every one of > every one of
some one of > some one of
a little > alittle
a couple of | a couple > couple
a dozen > dozen
a hundred > 100
a thousand > 1000
a million > 1000000
for example | for instance > eg
such as > suchas
as well as > aswellas
have to | has to | need to | needs to | have got to | has got to > needto
had to | needed to > needto past
ought to > should
used to > usedto
is going to | are going to | am going to > goingto
per cent > percent
united states of america | the united states | united states | the usa | the us > usa
the united kingdom | united kingdom | the uk > uk
new york city > nyc
web site > website
e mail > email
wi fi > wifi
data base > database
health care > healthcare
on line > online
smart phone > smartphone
log in > login
sign up > signup
sign in > signin
set up > setup
back up > backup
time zone > timezone
key board > keyboard
whats app > whatsapp
you tube > youtube
java script > javascript
type script > typescript
w o > without
""")

FRAMES: Final = _phrases("""
can you please tell me | could you please tell me | would you please tell me | will you please tell me > tellme
can you tell me | could you tell me | would you tell me | will you tell me | can someone tell me > tellme
could someone tell me | can anyone tell me | can anybody tell me | could anyone tell me > tellme
can you let me know | could you let me know | let me know | tell me > tellme
if you could tell me | if you can tell me | if you know | if anyone knows > tellme
do you know | do you happen to know | does anyone know | does anybody know | does someone know > tellme
i want to know | i would like to know | i just want to know | i need to know | i would love to know > tellme
i wonder | i was wondering | i am wondering | i was just wondering | i am curious | i am curious about > tellme
i want to understand | i would like to understand | help me understand > tellme
show me how to | teach me how to | explain how to | explain to me how to > how to
can you show me how to | could you show me how to | can you teach me how to | could you explain how to > how to
can you explain how to | please show me how to | i want to learn how to | i would like to learn how to > how to
i need to learn how to | i am trying to figure out how to | i need help with how to > how to
i have a question | i have one question | quick question | a quick question | one question >
i need you to | i want you to | i would like you to | i would love for you to >
would you mind > wouldyoumind
""")

REQUESTS: Final = _set("""
explain tell give show help write translate list describe summarize convert calculate find make create provide
suggest recommend name compare define solve fix generate compute draft rewrite correct check outline sort rank
classify identify analyze build design plan draw simplify paraphrase extract count evaluate prove derive
""")
"""What somebody is asked to do: "can you explain" is "explain"."""

WHERE_HELPERS: Final = _set("do can could")
HOW_HELPERS: Final = _set("do can could should would may might")

GIVING: Final = _set("give show help write recommend suggest provide explain")
"""What is done for "me", whatever stands behind it."""

CONVERTS: Final = _set("""
translate translation convert conversion change transform switch parse import export split divide
""")
"""Beside these "into" is "to"."""

PLACES: Final = _set("in on at under over inside outside within near behind across")
"""Each of two such phrases in a row says where the thing before it is: their order counts."""

PREPOSITIONS: Final = _set("""
in on at to from by for with without about before after during since against via through over under across if because
although unless when whenever inside outside within near behind
""")
"""Each begins a phrase that may stand elsewhere in the sentence; "of", "than", "and" hold on to what is before
them."""

SMALL_IN_TITLES: Final = _set("a an the and or but nor for of in on at to by from with as vs per via")
"""Words that stand in small letters where all others have a capital."""

TIME_WORDS: Final = _set("today tomorrow yesterday tonight now nowadays currently")
SYMMETRIC: Final = _set("""
difference differences differ different distinguish compare comparison comparing similarity similarities
similar common
relationship relation connection distance same alike between
""")
ONE_WAY: Final = _set("""
ratio convert conversion translate translation exchange flight flights train trains transfer travel switch
""")

IN_TURN: Final = _set("respectively former latter first 1st 2nd last order rank odds score")
"""Words that go by the order in which two things were named."""

POINTING: Final = _set("this these those following above below attached")
"""Words that point at something the question does not hold."""

# --- what must agree ------------------------------------------------------------------------------------

NEGATIONS: Final = _set("""
not no never none impossible unable illegal neither nor nothing nowhere nobody without hardly barely except unless non
nicht kein keine keinen keinem keiner keines nie niemals ohne nichts weder noch
ne pas jamais rien aucun aucune sans personne ni
nunca jamás sin nada nadie ningún ninguna ninguno tampoco
""")

NEGATIVE_PREFIXES: Final = ("un", "in", "im", "il", "ir", "dis", "non", "mis", "de", "anti")

QUANTIFIERS: Final = _set("""
all some any each every only both either most many few several least half first last next single entire whole always
sometimes often usually ever couple dozen alittle anumberof alle einige nur jeder tous toutes chaque seulement
todos todas
cada solo algunos
""")

TIMES: Final = _set("""
today yesterday tomorrow tonight now currently nowadays ago next last this previous recent recently past future year
month week day morning evening night weekend january february march april june july august september october november
december monday tuesday wednesday thursday friday saturday sunday summer autumn winter century decade
heute gestern morgen hier demain hoy ayer mañana
""")

COMPARISONS: Final[Mapping[Phrase, str]] = {
    tuple(phrase.split()): name
    for name, phrases in (
        ("more", "more than, over, above, beyond, greater than, larger than, upwards of"),
        ("less", "less than, fewer than, under, below, smaller than, beneath"),
        ("most", "up to, at most, not more than, maximum of, as many as, as much as"),
        ("least", "at least, not less than, not fewer than, minimum of"),
    )
    for phrase in phrases.split(", ")
}
"""What stands before a number and says which way from it."""

AXES: Final = tuple(
    (_set(one), _set(other))
    for one, _, other in (
        line.partition(":")
        for line in """
before until:after since following
more greater above over exceed exceeds most maximum max upper:less fewer below under least minimum min lower
with including include includes:without excluding exclude excludes except
increase increases increasing increased raise raising boost boosting grow higher rise rising gain up:decrease \
decreases decreasing decreased reduce reducing lower lowering shrink fall falling lose drop decline cut down
enable enabling enabled activate activating allow on:disable disabling disabled deactivate deactivating block
forbid off
from:to
buy buying bought:sell selling sold
open opening opened:close closing closed shut
start starting begin launch:stop stopping end finish quit terminate
add adding insert append install installing:remove removing delete deleting uninstall uninstalling subtract erase
import importing:export exporting
upload uploading:download downloading
encode encoding:decode decoding
encrypt encryption encrypting:decrypt decryption decrypting
compress compressing zip:decompress decompressing unzip extract
push pushing:pull pulling
send sending:receive receiving
lend lending:borrow borrowing
teach teaching:learn learning
win winning:lose losing
love like:hate dislike
good great better best pro pros advantage advantages benefit benefits:bad poor worse worst con cons \
disadvantage disadvantages drawback drawbacks risk risks
big large bigger larger biggest largest:small little smaller smallest
high highest tall taller tallest:low lowest short shorter shortest
long longer longest:short shorter shortest brief
fast faster fastest quick quickly:slow slower slowest slowly
hot hotter warm heat heating:cold colder cool cooling
old older oldest ancient:new newer newest young younger youngest modern
early earlier earliest:late later latest
first:last final
left:right
north northern:south southern
east eastern:west western
inside indoor indoors internal inner:outside outdoor outdoors external outer
input inputs:output outputs
front:rear
in:out
top:bottom
male man men boy boys he his husband father son brother king:female woman women girl girls she her wife mother \
daughter sister queen
mother:father
brother:sister
parent parents:child children kid kids
true:false
positive:negative
legal:illegal
cheap cheaper cheapest:expensive pricey
easy easier easiest simple:hard harder hardest difficult
rich:poor
light lighter:dark darker heavy heavier
public:private
ascending:descending
horizontal horizontally row rows:vertical vertically column columns
rows row:columns column
maximize:minimize
gain gaining:lose losing
accept accepting:reject rejecting refuse decline
attack:defend
employer:employee
lock locking:unlock unlocking
mount:unmount
connect connecting:disconnect disconnecting
subscribe:unsubscribe
show showing:hide hiding
arrive arrival:depart departure leave
mute:unmute
freeze freezing:melt thaw boil boiling
import:export
credit:debit
client:server
even:odd
encourage:discourage
cause causes:cure prevent treat
wet:dry
alive:dead
day:night
morning:evening
always:never
all:none some
stable:beta
north:west
local:remote
synchronous sync:asynchronous async
minor:major
single:married
domestic:international foreign
prefix:suffix
create creating:delete destroy
save saving:spend spending
""".strip().splitlines()
    )
)
"""Two poles each: a word of one against a word of the other turns a question round."""

QUALITIES: Final = _set("""
poor bad big large small high tall low short long fast quick slow hot warm cold cool old ancient new young modern early
late indoor outdoor inner outer internal external male female true false positive negative legal illegal cheap
expensive easy simple hard difficult rich public private local remote major minor single married domestic foreign wet
dry heavy cooked raw fresh frozen fat thin strong weak
""")
DEGREES: Final = _set("""
better worse best worst more less bigger larger smaller higher taller lower shorter longer faster quicker slower hotter
warmer colder cooler older newer younger earlier later cheaper easier harder richer poorer lighter darker heavier
biggest largest smallest highest tallest lowest shortest longest fastest slowest oldest newest youngest cheapest
""")
"""What may be said of the next thing alone, or of both that follow."""

UNITS: Final = _classes("""
kilometer: km kms kilometer kilometers kilometre kilometres
meter: m meter meters metre metres
centimeter: cm centimeter centimeters centimetre centimetres
millimeter: mm millimeter millimeters millimetre millimetres
nanometer: nm nanometer nanometers
mile: mile miles mi
yard: yard yards yd
foot: ft foot feet
inch: inch inches
kilogram: kg kgs kilogram kilograms kilo kilos
gram: g gram grams
milligram: mg milligram milligrams
microgram: mcg µg microgram micrograms
pound: lb lbs pound pounds £
ounce: oz ounce ounces
ton: ton tons
tonne: tonne tonnes
liter: l liter liters litre litres
milliliter: ml milliliter milliliters millilitre millilitres
gallon: gallon gallons gal
pint: pint pints
cup: cup cups
tablespoon: tbsp tablespoon tablespoons
teaspoon: tsp teaspoon teaspoons
second: sec secs second seconds s
millisecond: ms millisecond milliseconds
minute: min mins minute minutes
hour: h hr hrs hour hours
day: day days
week: week weeks
month: month months
year: year years yr yrs
decade: decade decades
century: century centuries
byte: byte bytes
bit: bit bits
kilobyte: kb kilobyte kilobytes
megabyte: mb megabyte megabytes
gigabyte: gb gigabyte gigabytes
terabyte: tb terabyte terabytes
celsius: celsius centigrade °c
fahrenheit: fahrenheit °f
kelvin: kelvin kelvins
watt: w watt watts
kilowatt: kw kilowatt kilowatts
megawatt: mw megawatt megawatts
volt: v volt volts
amp: amp amps ampere amperes
joule: joule joules
calorie: cal calorie calories
kilocalorie: kcal kilocalorie kilocalories
hertz: hz hertz
megahertz: mhz megahertz
gigahertz: ghz gigahertz
percent: % percent
degree: ° degree degrees
mph: mph
kmh: kmh kph
dollar: $ dollar dollars usd bucks
euro: € euro euros eur
yen: ¥ yen jpy
rupee: ₹ rupee rupees inr
franc: chf franc francs
peso: peso pesos mxn
yuan: yuan rmb cny
cent: cent cents
acre: acre acres
hectare: hectare hectares ha
knot: knots
""")
"""Names of units; after a number a short form means its long one."""

CASED_UNITS: Final[Mapping[str, str]] = {
    "Mb": "megabit",
    "MB": "megabyte",
    "Gb": "gigabit",
    "GB": "gigabyte",
    "Kb": "kilobit",
    "kb": "kilobit",
    "KB": "kilobyte",
    "kB": "kilobyte",
    "Tb": "terabit",
    "TB": "terabyte",
    "mW": "milliwatt",
    "MW": "megawatt",
    "mV": "millivolt",
    "MV": "megavolt",
    "mA": "milliampere",
    "MA": "megaampere",
    "mHz": "millihertz",
    "MHz": "megahertz",
    "mg": "milligram",
    "Mg": "megagram",
    "Mbps": "megabit per second",
    "MBps": "megabyte per second",
    "CO": "carbon monoxide",
    "Co": "cobalt",
}
"""What only its capitals tell apart."""

ACRONYMS: Final[Mapping[str, str]] = {word.lower(): word for word in ("ADD", "AIDS", "IT", "SAD", "US", "WHO")}
"""Common word -> what it is in capitals: another question, though the rest of it be the same.

Not those that nobody takes for the word, whoever writes them small (`how much ram`, `led lights`).
"""

CAPITONYMS: Final = _set("""
amazon amber apple april august bailey baker bank banks basil bass bath bill bills bishop bob brook bush butler
carol carpenter carter chad chance chase chelsea china chip cliff cologne cook cooper cork coward crystal dawn dean
delta drew duke earl eve faith field fisher fleet ford forest fox frank gap gardener gates gene ginger glen gore
grace grant guy harmony harry heath heather herb hill holly hope hunter hyde iris ivy jack jade jasmine jay jersey
job jobs jordan joy knight lance lent lily long major march mark marks mars mason mass masters may melody mercury
miles mobile nice olive oracle orient page pages parker pat patience pearl penny peter pierce piper polish porter
potter prudence ray reading rich ring robin rod rose rosemary ruby rusty sage sandy shell short sky smart smith
sprint stone subway sue swallow swift target taylor teams temple titan titans trump turkey turner victor viola
violet virgin visa ward wells wilde will windows wood woods word worth wren young
sie ihr ihre ihrem ihren ihrer ihres ihnen
""")
"""Words that are another word with a capital: a bird and a country, a will and a man."""

CODE: Final = _set("""
python java javascript typescript ruby rust golang kotlin swift scala perl php haskell lua julia matlab sql
cobol fortran bash powershell c c++ c# f# r html css xml json yaml toml
react angular vue svelte django flask fastapi rails laravel node.js nodejs deno numpy pandas pytorch
tensorflow git linux
""")
"""Where one of these is named, names are identifiers."""

COLOURS: Final = _set("red green blue yellow orange purple pink brown black white gray golden silver violet dark light")

CLOSED: Final = _set("""
english german french spanish italian portuguese russian chinese mandarin cantonese japanese korean arabic
hindi bengali
urdu turkish dutch swedish norwegian danish finnish polish czech greek hebrew latin thai vietnamese indonesian malay
ukrainian hungarian romanian bulgarian serbian croatian swahili persian farsi tamil telugu punjabi marathi irish welsh
catalan basque icelandic estonian latvian lithuanian albanian mongolian tagalog filipino esperanto sanskrit
deutsch englisch französisch spanisch allemand anglais français espagnol alemán inglés francés español
python java javascript typescript ruby rust golang kotlin swift scala perl php haskell lua julia matlab sql
cobol fortran bash powershell c c++ c# f# r html css xml json yaml toml csv pdf excel powerpoint
react angular vue svelte django flask fastapi rails laravel node.js nodejs deno numpy pandas pytorch
tensorflow postgres postgresql mysql sqlite mongodb redis docker kubernetes podman git svn linux ubuntu debian windows
macos mac ios android chrome firefox safari
red green blue yellow orange purple pink brown black white gray gold silver violet cyan magenta beige
usa uk america britain england scotland wales ireland france germany spain italy portugal russia china japan
korea india
pakistan bangladesh turkey netherlands belgium switzerland austria sweden norway denmark finland poland greece israel
egypt nigeria kenya ethiopia morocco algeria canada mexico brazil argentina chile peru colombia venezuela cuba
australia
zealand indonesia malaysia singapore thailand vietnam philippines iran iraq syria ukraine hungary romania
bulgaria serbia
croatia iceland estonia latvia lithuania europe asia africa antarctica california texas florida london paris berlin
rome madrid tokyo beijing moscow delhi mumbai
american british european asian african canadian australian indian mexican brazilian
bitcoin ethereum euro dollar yen rupee franc peso yuan pound
mercury venus earth mars jupiter saturn uranus neptune pluto moon sun
kilometer meter centimeter millimeter mile yard foot inch kilogram gram milligram ounce ton tonne liter
milliliter gallon
second minute hour day week month year decade century byte kilobyte megabyte gigabyte terabyte celsius
fahrenheit kelvin
dog cat horse cow pig sheep chicken bird fish snake
""")
"""Families in which one member never stands for another."""

# --- languages ------------------------------------------------------------------------------------------

ARTICLES_ELSEWHERE: Final = _set("""
der die das den dem des ein eine einen einem einer eines
le la les un une quel quelle quels quelles
el los las una unos unas cuál cuáles
il lo gli uno
""")

COMMON: Final[Mapping[str, frozenset[str]]] = {
    "en": _set("""
the is are was were what who how why when where which does do did can could should would will of to and for with my
your you i it this that there from have has not be an in on at me please tell about it's what's
"""),
    "de": _set("""
der die das den dem des ein eine einen einem einer ist sind war wie was wer wo warum wann welche welcher kann
ich du sie
wir und oder nicht kein keine mit von zu für auf im zum zur bitte wird werden hat haben viele viel lautet über
"""),
    "fr": _set("""
le la les un une des du de est sont était comment quoi qui où pourquoi quand quel quelle quels quelles je tu il
elle nous
vous et ou ne pas avec pour dans sur au aux puis peut ce cette mon ma mes combien que plaît
"""),
    "es": _set("""
el la los las un una unos del de es son era cómo como qué que quién dónde donde cuándo cuál cuáles por para con
sin y o
no en al puedo puede se mi mis tu su está hay favor cuántos cuántas cuánto
"""),
}

KEPT_OUT: Final[Mapping[str, tuple[Phrase, ...]]] = {
    "de": (("bitte",), ("danke",), ("vielen", "dank")),
    "fr": (("s'il", "vous", "plaît"), ("s'il", "te", "plaît"), ("merci",), ("svp",)),
    "es": (("por", "favor"), ("gracias",)),
}
"""Politeness at either end of a question in these languages."""


def _numbers(text: str) -> Iterator[tuple[str, int]]:
    for item in text.split():
        word, _, value = item.partition("=")
        yield word, int(value)


def _german() -> Iterator[tuple[str, int]]:
    ones = dict(_numbers("ein=1 zwei=2 drei=3 vier=4 fünf=5 sechs=6 sieben=7 acht=8 neun=9"))
    tens = dict(_numbers("zwanzig=20 dreißig=30 vierzig=40 fünfzig=50 sechzig=60 siebzig=70 achtzig=80 neunzig=90"))
    for ten, tens_value in tens.items():
        yield ten, tens_value
        for one, value in ones.items():
            yield f"{one}und{ten}", tens_value + value


SMALL: Final[Mapping[str, Mapping[str, int]]] = {
    "en": dict(
        _numbers("""
zero=0 one=1 two=2 three=3 four=4 five=5 six=6 seven=7 eight=8 nine=9 ten=10 eleven=11 twelve=12 thirteen=13
fourteen=14
fifteen=15 sixteen=16 seventeen=17 eighteen=18 nineteen=19 twenty=20 thirty=30 forty=40 fourty=40 fifty=50 sixty=60
seventy=70 eighty=80 ninety=90
""")
    ),
    "de": dict(
        _numbers("""
null=0 eins=1 zwei=2 drei=3 vier=4 fünf=5 sechs=6 sieben=7 acht=8 neun=9 zehn=10 elf=11 zwölf=12 dreizehn=13
vierzehn=14
fünfzehn=15 sechzehn=16 siebzehn=17 achtzehn=18 neunzehn=19 hundert=100 einhundert=100 tausend=1000 eintausend=1000
""")
    )
    | dict(_german()),
    "fr": dict(
        _numbers("""
zéro=0 deux=2 trois=3 quatre=4 cinq=5 sept=7 huit=8 neuf=9 dix=10 onze=11 douze=12 treize=13 quatorze=14
quinze=15 seize=16 vingt=20 trente=30 quarante=40 cinquante=50 soixante=60 cent=100 mille=1000 six=6
""")
    ),
    "es": dict(
        _numbers("""
cero=0 dos=2 tres=3 cuatro=4 cinco=5 seis=6 siete=7 ocho=8 nueve=9 diez=10 once=11 doce=12 trece=13 catorce=14
quince=15
dieciséis=16 diecisiete=17 dieciocho=18 diecinueve=19 veinte=20 veintiuno=21 veintidós=22 veintitrés=23
veinticuatro=24
veinticinco=25 veintiséis=26 veintisiete=27 veintiocho=28 veintinueve=29 treinta=30 cuarenta=40 cincuenta=50
sesenta=60
setenta=70 ochenta=80 noventa=90 cien=100 mil=1000
""")
    ),
}
SCALES: Final[Mapping[str, int]] = {
    "thousand": 1000,
    "million": 1_000_000,
    "billion": 1_000_000_000,
    "trillion": 1_000_000_000_000,
}
ORDINALS: Final[Mapping[str, str]] = {
    "first": "1st",
    "second": "2nd",
    "third": "3rd",
    "fourth": "4th",
    "fifth": "5th",
    "sixth": "6th",
    "seventh": "7th",
    "eighth": "8th",
    "ninth": "9th",
    "tenth": "10th",
    "eleventh": "11th",
    "twelfth": "12th",
    "twentieth": "20th",
}
ROMAN: Final[Mapping[str, str]] = {"ii": "2", "iii": "3", "vii": "7", "viii": "8", "ix": "9"}

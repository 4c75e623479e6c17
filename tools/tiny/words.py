"""Word lists that the corpus draws real-looking values from."""

from __future__ import annotations

from functools import cache


@cache
def phrases(text: str) -> tuple[str, ...]:
    """Split a text at its bars; line breaks count as spaces."""
    return tuple(" ".join(part.split()) for part in text.split("|"))


FIRST_NAMES = """
Ada Alan Alice Amir Amelie Anna Ben Bianca Boris Carla Carlos Chen Chloe Clara Daniel David Diana
Elena Eli Emma Erik Eva Farah Felix Fiona Frank Freya George Grace Greta Hana Hannah Hans Henry
Hugo Ida Igor Imani Ines Ingrid Isaac Ivan Jack Jana Jasper Jin Joan John Jonas Juan Julia Kaito
Karin Kenji Kira Lars Laura Lea Leo Lena Liam Lina Louis Lucia Luka Maja Marco Maria Mark Marta
Mateo Max Maya Mia Mila Miguel Mohamed Nadia Nina Noah Nora Olaf Olga Oliver Omar Oscar Otto Paul
Paula Pedro Peter Petra Priya Quentin Rachel Rafael Rita Robert Rosa Ruth Sam Sara Sven Sofia
Tariq Tess Theo Thomas Tom Tina Uma Ursula Vera Victor Wanda Wei William Xenia Yara Yusuf Zara Zoe
Margaret Jennifer Michael Katherine Christopher Sebastian Valentina Gabriel Aisha Dimitri
""".split()

LAST_NAMES = """
Smith Jones Brown Muller Garcia Rossi Novak Kowalski Jensen Berg Silva Tanaka Kim Nguyen Patel
Singh Lopez Martin Weber Fischer Moreau Lindqvist Haugen Petrov Papadopoulos Okafor Lovelace
Hopper Turing Clark Baker Carter Hill Stone Wood Rivers Young King Wright
""".split()

CITIES = """
Oslo Paris Berlin Rome Madrid London Tokyo Lima Cairo Delhi Vienna Prague Lisbon Dublin Helsinki
Athens Warsaw Zurich Geneva Bern Munich Hamburg Cologne Milan Naples Turin Venice Seville Porto
Lyon Nice Bordeaux Ghent Antwerp Bergen Malmo Aarhus Tallinn Riga Vilnius Krakow Budapest Sofia
Bucharest Zagreb Belgrade Istanbul Ankara Moscow Kyiv Minsk Tbilisi Baku Tehran Baghdad Dubai Doha
Karachi Mumbai Chennai Dhaka Bangkok Hanoi Manila Jakarta Seoul Busan Osaka Kyoto Beijing Shanghai
Taipei Sydney Melbourne Perth Auckland Nairobi Lagos Accra Dakar Tunis Rabat Casablanca Toronto
Montreal Vancouver Boston Chicago Seattle Denver Dallas Houston Miami Atlanta Phoenix Havana
Bogota Quito Santiago Brasilia Montevideo Reykjavik Bratislava Stockholm Copenhagen Amsterdam
Brussels Barcelona Valencia Edinburgh Glasgow Manchester Liverpool Philadelphia
""".split()

TWO_WORD_CITIES = phrases("""
New York | San Francisco | Los Angeles | Buenos Aires | Cape Town | Mexico City | Hong Kong |
Kuala Lumpur | Tel Aviv | Saint Petersburg | Rio de Janeiro | New Delhi | San Diego | Las Vegas
| Abu Dhabi | Addis Ababa | The Hague | Port Louis | Santa Cruz | Salt Lake City
""")

THINGS = """
apple banana cherry lemon orange pear plum grape melon peach bread butter cheese honey sugar salt
pepper coffee tea water milk juice soup rice pasta potato tomato onion carrot bean table chair
lamp desk door window floor wall roof house garden tree flower rose tulip grass leaf river lake
ocean mountain valley forest desert island beach cloud rain snow wind storm thunder sun moon star
planet comet rocket engine train bicycle car truck boat ship plane bridge road street tower castle
palace museum library school office market bakery hospital station airport hotel book paper pencil
pen letter stamp map clock watch mirror candle bottle glass cup plate bowl spoon fork knife kettle
hammer nail screw rope ladder bucket brush broom basket box bag coat shirt shoe hat glove scarf
button needle thread cat dog horse cow sheep goat pig duck goose chicken rabbit mouse fox wolf
bear lion tiger zebra elephant monkey parrot penguin eagle owl robin salmon shark whale dolphin
turtle frog snake spider ant bee butterfly violin piano guitar drum flute trumpet song dance poem
story movie picture camera radio phone laptop keyboard robot battery magnet crystal diamond silver
copper umbrella blanket pillow carpet curtain wizard pirate knight queen dragon unicorn ghost
monster giant cucumber pineapple strawberry chocolate sandwich pancake telescope microscope
""".split()

ADJECTIVES = """
red blue green yellow purple orange white black brown grey golden silver big small tall short long
wide narrow heavy light fast slow loud quiet soft hard warm cold hot cool fresh old new young
bright dark happy sad brave kind clever funny lazy busy hungry sleepy gentle proud strange shiny
dusty smooth rough sharp sweet sour salty bitter round square flat deep empty full
""".split()

JOBS = """
teacher doctor nurse pilot baker farmer painter writer singer dancer engineer plumber driver
lawyer judge chemist dentist gardener carpenter tailor librarian photographer programmer chef
waiter sailor firefighter architect journalist musician astronomer mechanic
""".split()

LANGUAGES = """
English French German Spanish Italian Portuguese Dutch Swedish Norwegian Danish Finnish Polish
Czech Greek Turkish Arabic Hebrew Hindi Chinese Japanese Korean Russian Latin Welsh Irish Basque
Swahili Zulu
""".split()

TOPICS = """
price owner length colour size weight height age date time status address number code population
capital author title rating score distance duration cost balance total stock speed temperature
version level rank length model brand phone email website menu schedule salary budget discount
mass volume area depth width power voltage currency rate tax fee deadline topic summary location
position colour category type state country manager supplier origin birthday definition forecast
result location grade quantity capacity flavour material shape founder director editor translation
recipe calendar agenda route timetable invoice receipt ticket
""".split()

ENTITIES = """
product city book user order item country company customer employee project file package flight
train hotel restaurant movie song album artist team player student course school ticket device
server account invoice car bike house room plant animal bird river lake mountain planet star
recipe ingredient word phrase document task event meeting city stock coin game shop museum street
bridge person member machine part sensor parcel vendor patient lesson chapter station
""".split()

KEYS = """
name age city country color size price title author year email phone street zip job company id
type status date time language currency amount quantity weight height width length rating score
level category brand model team sport food drink animal plant hobby instrument subject topic
answer result value label code key first last middle nickname birthday address owner host port
path file user role group tag note text message reason unit speed distance temperature humidity
species material shape position rank total count index version
""".split()

ACTIONS = """
open close delete start stop cancel copy move paint clean lock unlock print scan archive publish
rename restart approve reject order ship track activate disable enable update repair wash feed
call invite ban block follow pause resume download upload reset
""".split()
CONDITIONS = """
sunny cloudy rainy windy snowy foggy stormy clear humid dry icy misty
""".split()

ALPHABETS = (
    "абвгдежзиклмнопрстуфхцчшыэюя",
    "αβγδεζηθικλμνξοπρστυφχψω",
    "äöüßéèêëàâçîïôûñáíóúåøæœ",
    "łńśźżćęąčěřšžýůďťňőűğış",
    "אבגדהוזחטיכלמנסעפצקרשת",
    "ابتثجحخدذرزسشصضطظعغفقكلمنهوي",
    "あいうえおかきくけこさしすせそたちつてとなにぬねの",
    "日本語中文東京大小山川田人口水火木金土月上下左右天地",
    "가나다라마바사아자차카타파하서울부산김이박",
    "अआइईउऊएकखगघचछजटडतदनपबमयरलवसह",
)

ONSETS = """
b bl br c ch cl cr d dr f fl fr g gl gr h j k kl kr l m n p pl pr qu r s sc sh sk sl sm sn sp st
str t th tr tw v w wh y z
""".split()
NUCLEI = "a e i o u a e i o u ai au ea ee ei ia ie io oa oo ou ue y".split()
CODAS = (
    [""] * 14
    + """
b ck d f g k l ll lt m mp n nd ng nk nt p r rd rk rm rn rt s sh sk ss st t th x z
""".split()
)

# What words may be joined of.
PARTS = (
    *FIRST_NAMES,
    *LAST_NAMES,
    *CITIES,
    *THINGS,
    *THINGS,
    *ADJECTIVES,
    *JOBS,
    *TOPICS,
    *KEYS,
    *ENTITIES,
    *ACTIONS,
)

"""The things of the storybook world: what each is called, its picture, where it belongs and how it moves.

Pictures are glyphs of Noto Color Emoji (SIL Open Font License 1.1), except those that `sprites` draws itself.
"""

from dataclasses import dataclass
from typing import Literal

Realm = Literal["land", "water", "swim", "air", "space", "fixed", "thing", "person"]


@dataclass(frozen=True, kw_only=True)
class Noun:
    """One thing: `names[0]` is its key, the others are said in captions too."""

    names: tuple[str, ...]
    glyph: str  # "" is drawn by `sprites`
    realm: Realm
    verb: str  # how it goes from one side to the other, third person
    faces: Literal["left", "right", "both"] = "left"  # where its picture looks, "both" is symmetric
    colours: bool = False  # may be tinted: "a green boat"
    size: float = 0.5  # usual height as a fraction of the frame

    @property
    def key(self) -> str:
        return self.names[0]


def _group(realm: Realm, verb: str, text: str, **common: object) -> list[Noun]:
    """Reads lines `glyph name[,name] [verb=...] [size=...] [colours] [both|right]`."""
    nouns = []
    for line in text.strip().splitlines():
        glyph, names, *flags = line.split()
        settings: dict[str, object] = {"verb": verb, **common}
        for flag in flags:
            key, separator, value = flag.partition("=")
            if separator:
                settings[key] = float(value) if key == "size" else value.replace("_", " ")
            elif key in ("both", "right"):
                settings["faces"] = key
            else:
                settings[key] = True
        spoken = tuple(name.replace("_", " ") for name in names.split(","))
        nouns.append(Noun(names=spoken, glyph="" if glyph == "-" else glyph, realm=realm, **settings))  # type: ignore[arg-type]
    return nouns


_NOUNS = [
    *_group("water", "sails", """
⛵ boat,sailing_boat,sailboat colours size=0.55
🚢 ship,big_ship colours
🦢 swan verb=swims
🦆 duck verb=swims
🛶 canoe verb=floats size=0.3 both
"""),
    *_group("swim", "swims", """
🐳 whale size=0.5
🐬 dolphin
🐟 fish colours size=0.42
🐠 tropical_fish size=0.45
🐢 turtle size=0.42
🐙 octopus both colours
🦀 crab verb=crawls both size=0.4
🦈 shark
🧜‍♀️ mermaid both size=0.6
"""),
    *_group("air", "flies", """
🐦 bird,little_bird colours size=0.42
🕊️ gull,seagull,white_bird size=0.42
🦅 eagle
🦉 owl both
🦜 parrot
🦋 butterfly both colours size=0.45
🐝 bee size=0.4
🐉 dragon colours size=0.6
🦇 bat both size=0.4
✈️ airplane,plane right
🚁 helicopter colours
🎈 balloon verb=floats both colours size=0.55
🪁 kite both size=0.5
🧚 fairy both size=0.55
🦸 superhero both size=0.55
"""),
    *_group("land", "walks", """
🐈 cat
🐕 dog verb=runs
🐎 horse verb=gallops size=0.55
🦊 fox both verb=runs
🐺 wolf both verb=runs
🐇 rabbit verb=hops size=0.45
🐻 bear both
🦁 lion both
🐅 tiger
🐘 elephant size=0.6
🐄 cow
🐖 pig
🐁 mouse verb=runs size=0.4
🐸 frog both verb=hops size=0.42
🐌 snail verb=crawls size=0.42
🐒 monkey
🦒 giraffe size=0.62
🐪 camel
🦘 kangaroo verb=hops
🦔 hedgehog size=0.4
🐿️ squirrel verb=runs size=0.45
🐧 penguin verb=waddles
🐓 rooster
🦩 flamingo
🦄 unicorn verb=gallops
🦕 dinosaur size=0.62
🐞 ladybird,ladybug verb=crawls both size=0.4
🚗 car verb=drives colours size=0.4
🚂 train,steam_train verb=drives size=0.5
🚌 bus verb=drives size=0.42
🚲 bicycle verb=rolls size=0.45
🚜 tractor verb=drives size=0.5
🚒 fire_engine,fire_truck verb=drives size=0.42
🛵 scooter verb=drives size=0.45
"""),
    *_group("space", "flies", """
🚀 rocket right colours size=0.55
🛸 flying_saucer,ufo both
🛰️ satellite verb=floats both
🌍 planet,blue_planet verb=floats both
🪐 ringed_planet verb=floats both
☄️ comet
⭐ star,yellow_star verb=floats both colours size=0.45
🌙 moon,crescent_moon verb=floats both size=0.5
🌞 sun,smiling_sun verb=floats both size=0.5
"""),
    *_group("fixed", "stands", """
- lighthouse both size=0.8
🏠 house,little_house both colours size=0.6
🏰 castle both size=0.7
⛺ tent both colours
🌳 tree,green_tree both size=0.7
🌲 pine_tree,fir_tree both size=0.7
🌴 palm_tree both size=0.7
🌵 cactus both size=0.6
🌻 sunflower both size=0.6
🌷 flower,tulip both colours size=0.55
🌹 rose both colours size=0.55
🍄 mushroom both colours size=0.45
⛄ snowman both size=0.6
🔥 fire,campfire both size=0.5
🎃 pumpkin both size=0.45
"""),
    *_group("thing", "slides", """
🤖 robot both verb=walks size=0.55
👻 ghost both verb=floats size=0.5
🍎 apple both verb=rolls colours size=0.45
🎂 cake,birthday_cake both
🎸 guitar both colours size=0.55
🥁 drum both size=0.5
🎺 trumpet both size=0.45
🎻 violin both size=0.55
⚽ ball,football both verb=rolls size=0.42
☂️ umbrella both verb=floats colours size=0.5
🎩 hat,top_hat both size=0.42
📖 book,open_book both size=0.42
💡 lamp,light_bulb both size=0.5
⏰ clock,alarm_clock both colours size=0.5
❤️ heart both verb=floats colours size=0.45
👑 crown both size=0.42
🧸 teddy_bear,teddy both size=0.55
🔑 key both size=0.45
🕯️ candle both size=0.55
☕ cup,cup_of_coffee both size=0.45
🍩 doughnut both verb=rolls size=0.42
🍕 pizza,slice_of_pizza both size=0.45
"""),
    *_group("person", "walks", """
👨 man both size=0.55
👩 woman both size=0.55
🧒 child both size=0.5
👧 girl both size=0.5
👦 boy both size=0.5
🧙‍♂️ wizard,old_wizard both size=0.6
🧑‍🚀 astronaut both size=0.58
👸 princess both size=0.55
🥷 ninja both size=0.55
🎅 father_christmas,santa both size=0.55
💃 dancer,dancing_woman both verb=dances size=0.62
"""),
]  # fmt: skip

ALL: dict[str, Noun] = {noun.key: noun for noun in _NOUNS}

CORE_NOUNS: tuple[str, ...] = (
    "boat", "ship", "lighthouse", "whale", "fish", "turtle", "gull", "bird", "owl", "duck", "penguin", "butterfly",
    "bee", "dragon", "cat", "dog", "horse", "fox", "rabbit", "bear", "elephant", "unicorn", "car", "train", "bus",
    "bicycle", "airplane", "balloon", "rocket", "star", "moon", "sun", "house", "castle", "tent", "tree", "flower",
    "snowman", "robot", "ghost", "apple", "guitar", "umbrella", "man", "woman", "child", "wizard", "astronaut",
)  # fmt: skip


def find_nouns(keys: tuple[str, ...]) -> tuple[Noun, ...]:
    """The nouns of these keys, in order.

    Raises:
        ValueError: a key that the world does not have.
    """
    unknown = [key for key in keys if key not in ALL]
    if unknown or not keys:
        problem = f"unknown noun {unknown[0]!r}" if unknown else "no nouns given"
        raise ValueError(f"{problem}; there are {', '.join(ALL)}")
    return tuple(ALL[key] for key in keys)

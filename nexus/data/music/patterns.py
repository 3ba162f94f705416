"""Rhythms as strings: one character a sixteenth note, `x` an onset (held to the next), `-` a rest, `.` time passing.

Drum hits are `x`, accented `X`, soft `o`. Keys of the tables are (name, beats a bar).
"""

MELODY = {
    ("sparse", 4): ("x...............", "x.......x.......", "x...........x...", "x.......----x..."),
    ("lyrical", 4): (
        "x.......x...x...",
        "x.....x.x.......",
        "x...x...x.......",
        "x.....x.x...x...",
        "x...x...x...x...",
    ),
    ("flowing", 4): ("x...x.x.x...x...", "x.x.x...x.x.x...", "x...x.x.x.x.x...", "x.x.x.x.x...x.x."),
    ("busy", 4): ("x.x.x.x.x.x.x...", "x..x..x.x..x..x.", "x.xxx.x.x.x.x.x.", "x.x.xxx.x.x.x.--"),
    ("swinging", 4): ("x...x.x.--x.x.x.", "--x.x.x.x...x.x.", "x.x.x...--x.x...", "x...x.x.x.....x."),
    ("march", 4): ("x...x..xx...x...", "x..xx...x..xx...", "x...x...x..xx...", "x.......x..xx..x"),
    ("sparse", 3): ("x...........", "x.......x..."),
    ("lyrical", 3): ("x.......x...", "x...x...x...", "x.....x.x..."),
    ("flowing", 3): ("x.x.x...x...", "x...x.x.x.x.", "x...x.x.x..."),
}

CHORDS = {
    ("sustain", 4): ("x...............",),
    ("sustain", 3): ("x...........",),
    ("halves", 4): ("x.......x.......",),
    ("pulse", 4): ("x...x...x...x...",),
    ("arpeggio", 4): ("x.x.x.x.x.x.x.x.",),
    ("arpeggio", 3): ("x.x.x.x.x.x.",),
    ("rolling", 4): ("xxxxxxxxxxxxxxxx",),
    ("rolling", 3): ("xxxxxxxxxxxx",),
    ("picking", 4): ("x.x.x.x.x.x.x.x.", "x...x.x.x.x.x.x."),
    ("strum", 4): ("x...x.x.--x.x.x.", "x...x.x.x.x.x.x.", "x...x...x.x.x.x."),
    ("offbeat", 4): ("--x.--x.--x.--x.",),
    ("eighths", 4): ("x.x.x.x.x.x.x.x.",),
    ("comp", 4): ("x.....x.--------", "--x.....x...--x.", "x..---x.--x.----", "--x...x.--------"),
    ("bossa", 4): ("x.....x...x.x...", "x...x.....x..x..", "--x...x.x.....x."),
    ("funk", 4): ("--x---xx--x---x-", "x--x---x--x-x---", "--xx--x---xx--x-"),
    ("stabs", 4): ("x--x--x---x--x--", "x--x--x-x--x--x-"),
    ("oompah", 4): ("----x.------x.--",),
    ("oompah", 3): ("----x.--x.--",),
}

BASS = {
    ("root", 4): ("x...............",),
    ("root", 3): ("x...........",),
    ("halves", 4): ("x.......x.......",),
    ("oompah", 4): ("x...----x...----",),
    ("oompah", 3): ("x...--------",),
    ("eighths", 4): ("x.x.x.x.x.x.x.x.",),
    ("offbeat", 4): ("--x.--x.--x.--x.", "--xx--xx--xx--xx"),
    ("walking", 4): ("x...x...x...x...",),
    ("lazy", 4): ("x.....x.x.......", "x.....x---x.....", "x.......--x.x..."),
    ("bossa", 4): ("x.....x.x.....x.",),
    ("funk", 4): ("x--x--x---x-x-x-", "x-x---x--xx---x-", "x--x---xx--x--xx"),
    ("rock", 4): ("x.x.x.x.x.x.x.x.", "x...x.x.x...x.x."),
}

DRUM_NOTES = {
    "kick": 36,
    "snare": 38,
    "rim": 37,
    "clap": 39,
    "hat": 42,
    "open": 46,
    "ride": 51,
    "crash": 49,
    "low tom": 45,
    "high tom": 50,
    "brush": 38,
    "shaker": 70,
    "pedal": 44,
    "side": 76,
    "cymbals": 49,
    "bass drum": 35,
    "tambourine": 54,
}

DRUMS: dict[tuple[str, int], tuple[dict[str, str], ...]] = {
    ("lo-fi", 4): (
        {"kick": "X.....x...X.....", "snare": "....X.......X...", "hat": "x.o.x.o.x.o.x.o."},
        {"kick": "X......xx.......", "snare": "....X.......X..o", "hat": "x.x.x.x.x.x.x.x."},
        {"kick": "X.........Xx....", "rim": "....X.......X...", "hat": "x.o.x.oox.o.x.o."},
    ),
    ("four-on-the-floor", 4): (
        {"kick": "X...X...X...X...", "clap": "....X.......X...", "open": "..x...x...x...x."},
        {"kick": "X...X...X...X...", "clap": "....X.......X...", "hat": "xoxoxoxoxoxoxoxo", "open": "..x...x...x...x."},
    ),
    ("jazz", 4): (
        {"ride": "X...x.x.X...x.x.", "pedal": "....x.......x...", "kick": "o.......o......."},
        {"ride": "X...x.x.X...x.x.", "pedal": "....x.......x...", "snare": "..........o....."},
    ),
    ("rock", 4): (
        {"kick": "X.......X.x.....", "snare": "....X.......X...", "hat": "X.x.X.x.X.x.X.x."},
        {"kick": "X.....x.X.......", "snare": "....X.......X...", "ride": "X.x.X.x.X.x.X.x."},
        {"kick": "X...x.x.X.......", "snare": "....X.......X..o", "open": "X...X...X...X..."},
    ),
    ("march", 4): (
        {"snare": "X..xX.x.X..xX.xx", "bass drum": "X.......X.......", "cymbals": "....o.......o..."},
        {"snare": "X.xxX.xxX.xxXxxx", "bass drum": "X.......X......."},
    ),
    ("bossa nova", 4): (
        {"rim": "x..x..x...x..x..", "kick": "x..xx..xx..xx..x", "hat": "x.x.x.x.x.x.x.x."},
        {"rim": "x..x...x..x.x...", "kick": "x..xx..xx..xx..x", "shaker": "xoxoxoxoxoxoxoxo"},
    ),
    ("funk", 4): (
        {"kick": "X..x..x...x..x..", "snare": "....X..o.o..X..o", "hat": "x.xxx.xxx.xxx.xx"},
        {"kick": "X.x....x..X.....", "snare": "....X..o....X.o.", "hat": "xxxxxxxxxxxxxxxx"},
    ),
    ("chip", 4): (
        {"kick": "X.......X.......", "snare": "....X.......X...", "hat": "x.x.x.x.x.x.x.x."},
        {"kick": "X.....X...X.....", "snare": "....X.......X...", "hat": "xxx.xxx.xxx.xxx."},
    ),
    ("shaker", 4): ({"shaker": "x.o.x.o.x.o.x.o."}, {"tambourine": "....x.......x...", "shaker": "x.o.x.o.x.o.x.o."}),
    ("waltz", 3): (
        {"bass drum": "x...........", "rim": "....o...o..."},
        {"kick": "x...........", "hat": "....x...x..."},
    ),
}

FILLS = {
    "lo-fi": {"snare": "..........xox.xx"},
    "four-on-the-floor": {"snare": "........x.x.xxxx"},
    "rock": {"snare": "........xx......", "high tom": "..........xx....", "low tom": "............xxxx"},
    "march": {"snare": "........xxxxXxxx"},
    "funk": {"snare": "........x.xxx...", "low tom": "............x.xx"},
    "chip": {"snare": "........x.x.xxxx"},
}

"""`rota cron --stdin` against the recorded cases and against a second, slow implementation.

The reference below shares nothing with the product: it reads the expression with its own parser and
asks Python's zoneinfo for the clock. Needs no database.
"""

import bisect
import datetime
import os
import pathlib
import random
import subprocess
import zoneinfo

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CASES = pathlib.Path(os.environ.get("ROTA_CASES", ROOT.parent / "shared" / "cases"))
SEED = int(os.environ.get("ROTA_TEST_SEED", "20261120"))
UTC = datetime.timezone.utc
DAY = datetime.timedelta(days=1)
EPOCH = datetime.datetime(1970, 1, 1)
MONTHS = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split()
WEEKDAYS = "SUN MON TUE WED THU FRI SAT".split()


def rota_binary():
    path = os.environ.get("ROTA_BINARY", ROOT / "build" / "cmd" / "rota")
    if not os.access(path, os.X_OK):
        pytest.skip(f"no binary at {path}: set ROTA_BINARY")
    return str(path)


def ask(questions):
    """Answers of (expression, zone, after, count), with every refusal as plain "error"."""
    lines = "".join("\t".join(map(str, question)) + "\n" for question in questions)
    result = subprocess.run([rota_binary(), "cron", "--stdin"], input=lines, text=True,
                            capture_output=True, timeout=120, check=True)
    answers = result.stdout.split("\n")[:-1]
    assert len(answers) == len(questions)
    return ["error" if answer.startswith("error: ") else answer for answer in answers]


# --- the reference -------------------------------------------------------------------------------

def expand(text, low, high, names=(), unix_weekday=False):
    """The values of one plain field."""
    values, size = set(), high - low + 1

    def number(word):
        return names.index(word.upper()) + low if word.upper() in names else int(word)

    for item in text.split(","):
        body, _, step = item.partition("/")
        if body in ("*", ""):
            first, count = low, size
        elif "-" in body:
            first, last = map(number, body.split("-"))
            count = last - first + 1 if last >= first else last - first + 1 + size
        else:
            first = number(body)
            if unix_weekday:
                first %= 7
            count = high - first + 1 if step else 1
        for i in range(0, count, int(step or 1)):
            values.add((first - low + i) % size + low)
    return values


def month_length(date):
    following = (date.replace(day=28) + 4 * DAY).replace(day=1)
    return (following - DAY).day


def weekday_near(date):
    """The working day nearest to a date, in the same month."""
    if date.isoweekday() == 6:
        return date - DAY if date.day > 1 else date + 2 * DAY
    if date.isoweekday() == 7:
        return date + DAY if date.day < month_length(date) else date - 2 * DAY
    return date


def date_matches(item, date):
    length = month_length(date)
    if "L" in item:
        back = item.replace("W", "")[1:]
        day = length + (int(back) if back else 0)  # back is "-3"
    elif item.endswith("W"):
        day = int(item[:-1])
    else:
        return date.day in expand(item, 1, 31)
    if not 1 <= day <= length:
        return False
    wanted = date.replace(day=day)
    return date == (weekday_near(wanted) if item.endswith("W") else wanted)


class Reference:
    def __init__(self, expression, zone):
        fields = expression.split()
        self.unix = len(fields) == 5
        if self.unix:
            fields = ["0"] + fields
        second, minute, hour, self.day, month, self.weekday = fields[:6]
        self.seconds = sorted(expand(second, 0, 59))
        self.minutes = sorted(expand(minute, 0, 59))
        self.hours = sorted(expand(hour, 0, 23))
        self.months = expand(month, 1, 12, MONTHS)
        self.years = expand(fields[6], 1970, 2199) if len(fields) > 6 else range(1970, 2200)
        self.zone = zoneinfo.ZoneInfo(zone)
        self.elapsed = len(self.hours) == 24

    def matches_date(self, date):
        if date.month not in self.months or date.year not in self.years:
            return False
        if self.day not in ("*", "?"):
            return any(date_matches(item.upper(), date) for item in self.day.split(","))
        if self.weekday in ("*", "?"):
            return True
        low = 0 if self.unix else 1
        weekday = date.isoweekday() % 7 + low
        text = self.weekday.upper()
        if text == "L":
            return weekday == 7
        if text.endswith("L"):
            return (weekday in expand(text[:-1], low, low + 6, WEEKDAYS)
                    and date.day > month_length(date) - 7)
        text, _, nth = text.partition("#")
        if weekday not in expand(text, low, low + 6, WEEKDAYS, self.unix):
            return False
        return not nth or (date.day - 1) // 7 + 1 == int(nth)

    def instants(self, wall):
        """What a reading of the wall clock fires at."""
        found = []
        for fold in (0, 1):
            local = wall.replace(tzinfo=self.zone, fold=fold)
            back = local.astimezone(UTC).astimezone(self.zone).replace(tzinfo=None)
            if back == wall:
                found.append(int(local.timestamp()))
        if self.elapsed:
            return found
        return [min(found)] if found else [self.end_of_gap(wall)]

    def end_of_gap(self, wall):
        wall_s = int((wall - EPOCH).total_seconds())

        def is_behind(instant):
            local = datetime.datetime.fromtimestamp(instant, self.zone).replace(tzinfo=None)
            return local > wall

        return bisect.bisect_left(range(wall_s - 2 * 86400, wall_s + 2 * 86400), True,
                                  key=is_behind) + wall_s - 2 * 86400

    def next(self, after, count, days_max=3000):
        start = datetime.datetime.fromtimestamp(after, self.zone).date() - DAY
        found, enough = set(), None
        for ahead in range(days_max):
            date = start + ahead * DAY
            if date.year > 2199 or (enough is not None and ahead > enough):
                break
            if not self.matches_date(date):
                continue
            for hour in self.hours:
                for minute in self.minutes:
                    for second in self.seconds:
                        wall = datetime.datetime(date.year, date.month, date.day, hour, minute,
                                                 second)
                        found.update(t for t in self.instants(wall) if t > after)
            if len(found) >= count and enough is None:
                enough = ahead + 2  # a gap or overlap of a day may still bring earlier ones
        return sorted(found)[:count]


# --- random expressions --------------------------------------------------------------------------

def random_field(rng, low, high, most=4, names=(), wraps=True):
    def value():
        number = rng.randint(low, high)
        return number, names[number - low] if names and rng.random() < 0.5 else str(number)

    kind = rng.randrange(5)
    if kind == 0:
        return "*"
    if kind == 1:
        return f"*/{rng.randint(1, high - low)}"
    if kind == 2:
        first, last = rng.randint(low, high), rng.randint(low, high)
        if not wraps and last < first:
            first, last = last, first
        step = f"/{rng.randint(1, 7)}" if rng.random() < 0.4 else ""
        return f"{first}-{last}{step}"
    if kind == 3:
        return f"{rng.randint(low, high)}/{rng.randint(1, high - low)}"
    return ",".join(value()[1] for _ in range(rng.randint(1, most)))


def random_quartz(rng):
    second = rng.choice(["0", "0", "0", "30", "*/20", "7,59"])
    minute = rng.choice(["0", "30", "*/15", random_field(rng, 0, 59)])
    hour = rng.choice(["*", "0", "1", "2", "3", "0-3", random_field(rng, 0, 23)])
    month = rng.choice(["*", "*", "*", random_field(rng, 1, 12, names=MONTHS)])
    day, weekday = "?", "?"
    if rng.random() < 0.5:
        day = rng.choice(["*", "L", "LW", f"L-{rng.randint(0, 30)}", f"L-{rng.randint(0, 20)}W",
                          f"{rng.randint(1, 31)}W", "1,15W,L", random_field(rng, 1, 31)])
    else:
        name = rng.choice(WEEKDAYS)
        weekday = rng.choice(["*", "L", f"{name}L", f"{rng.randint(1, 7)}L",
                              f"{name}#{rng.randint(1, 5)}", f"{rng.randint(1, 7)}#2",
                              "FRI-MON", "SAT,SUN", random_field(rng, 1, 7, names=WEEKDAYS)])
    return f"{second} {minute} {hour} {day} {month} {weekday}"


def random_unix(rng):
    minute = rng.choice(["0", "30", "*/15", random_field(rng, 0, 59)])
    hour = rng.choice(["*", "0", "1", "2", random_field(rng, 0, 23)])
    month = rng.choice(["*", "*", random_field(rng, 1, 12, names=MONTHS)])
    day = weekday = "*"
    if rng.random() < 0.3:
        day = random_field(rng, 1, 31)
    elif rng.random() < 0.6:
        weekday = rng.choice(["0", "7", "5-7", "0-7", "1-5", "SAT-SUN", "MON-FRI/2", "6-2", "7/2",
                              random_field(rng, 0, 6, names=WEEKDAYS)])
    return f"{minute} {hour} {day} {month} {weekday}"


# Around their changes: by an hour, half an hour, two hours, at midnight, by a whole day, negative.
EDGES = [
    ("America/New_York", "2024-03-10"), ("America/New_York", "2024-11-03"),
    ("Europe/Berlin", "2027-03-28"), ("Europe/Berlin", "2027-10-31"),
    ("Australia/Lord_Howe", "2025-04-06"), ("Australia/Lord_Howe", "2025-10-05"),
    ("Pacific/Apia", "2011-12-30"), ("Pacific/Apia", "2010-09-26"),
    ("Antarctica/Troll", "2025-03-30"), ("Antarctica/Troll", "2025-10-26"),
    ("America/Havana", "2024-03-10"), ("America/Havana", "2024-11-03"),
    ("America/Sao_Paulo", "2018-11-04"), ("America/Sao_Paulo", "2018-02-18"),
    ("Africa/Cairo", "2024-04-26"), ("Africa/Cairo", "2024-11-01"),
    ("Asia/Beirut", "2025-03-30"), ("Asia/Beirut", "2025-10-26"),
    ("Asia/Pyongyang", "2015-08-15"), ("Asia/Pyongyang", "2018-05-05"),
    ("America/Caracas", "2007-12-09"), ("America/Caracas", "2016-05-01"),
    ("Europe/Dublin", "2026-10-25"), ("America/St_Johns", "2011-03-13"),
    ("Africa/Casablanca", "2024-03-10"), ("America/Nuuk", "2023-03-26"),
    ("Asia/Kathmandu", "1986-01-01"), ("Pacific/Kwajalein", "1993-08-21"),
    ("Europe/Berlin", "2101-03-27"), ("UTC", "2000-02-29"),
]


def random_questions(rng, rounds):
    for _ in range(rounds):
        zone, date = rng.choice(EDGES)
        noon = datetime.datetime.fromisoformat(date + "T12:00:00+00:00")
        after = int(noon.timestamp()) - rng.randint(0, 3 * 86400)
        expression = random_unix(rng) if rng.random() < 0.35 else random_quartz(rng)
        yield expression, zone, after, rng.randint(1, 12)


# --- tests ---------------------------------------------------------------------------------------

# tzdata 2026f: Cuba stays on summer time from 2026-11-01 to 2027-11-07; the cases were recorded before.
CUBA = ("America/Havana", range(1793509200, 1825567200))


def cuba_has_changed(zone, after):
    january = datetime.datetime(2027, 1, 1, tzinfo=zoneinfo.ZoneInfo(CUBA[0]))
    return (zone == CUBA[0] and after in CUBA[1]
            and january.utcoffset() == datetime.timedelta(hours=-4))


@pytest.mark.parametrize("name", ["cron.tsv", "cron-dst.tsv"])
def test_every_recorded_case_holds(name):
    if not (CASES / name).exists():
        pytest.skip(f"no cases at {CASES / name}: set ROTA_CASES")
    rows = [line.split("\t") for line in (CASES / name).read_text().splitlines()]
    rows = [row for row in rows if not cuba_has_changed(row[1], int(row[2]))]
    answers = ask([(*row[:3], row[3].count(",") + 1) for row in rows])
    wrong = [(row, answer) for row, answer in zip(rows, answers) if row[3] != answer]
    assert rows and not wrong, f"{len(wrong)} of {len(rows)}: {wrong[:5]}"


def test_random_expressions_agree_with_the_reference():
    rounds = int(os.environ.get("ROTA_TEST_ROUNDS", "400"))
    print(f"ROTA_TEST_SEED={SEED} ROTA_TEST_ROUNDS={rounds}")
    rng = random.Random(SEED)
    questions = list(random_questions(rng, rounds))
    compared = 0
    for question, answer in zip(questions, ask(questions)):
        expression, zone, after, count = question
        expected = Reference(expression, zone).next(after, count)
        assert answer != "error", question
        got = [int(word) for word in answer.split(",") if word != "none"]
        # The reference stops after a few years, and then knows only the first ones.
        assert got[:len(expected)] == expected, (question, got, expected)
        compared += len(expected)
    assert compared > rounds


@pytest.mark.parametrize("line", [
    "", "x", "\t\t\t", "* * * * *\tUTC\t0", "* * * * *\tUTC\t0\t1\t1", "* * * * *\tUTC\tzero\t1",
    "* * * * *\tUTC\t0\t0", "* * * * *\tUTC\t0\t-1", "* * * * *\tUTC\t0\t999999999999",
    "* * * * *\tUTC\t99999999999999999999\t1", "* * * * *\t../UTC\t0\t1", "* * * * *\t/UTC\t0\t1",
    "* * * * *\tEurope\t0\t1", "* * * * *\t\t0\t1", "\x01 * * * *\tUTC\t0\t1",
    "* * * * *\x00\tUTC\t0\t1", "1," * 5000 + "1 * * * *\tUTC\t0\t1", "ü * * * *\tUTC\t0\t1",
    "9" * 70000,
])
def test_a_malformed_line_is_answered_and_the_next_one_too(line):
    result = subprocess.run([rota_binary(), "cron", "--stdin"], capture_output=True, timeout=20,
                            input=(line + "\n@hourly\tUTC\t0\t1").encode(), check=True)
    first, second, rest = result.stdout.split(b"\n")
    assert first.startswith(b"error: ") and second == b"3600" and rest == b""


def test_a_refusal_on_the_command_line_is_one_line_and_exit_1():
    result = subprocess.run([rota_binary(), "cron", "0 0 24 * * ?"], text=True, timeout=20,
                            capture_output=True)
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr.count("\n") == 1 and "hour \"24\"" in result.stderr


def test_an_unquoted_expression_is_a_usage_error():
    result = subprocess.run([rota_binary(), "cron", "0", "0", "12", "*", "*", "?"], timeout=20,
                            capture_output=True)
    assert result.returncode == 2

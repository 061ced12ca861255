#!/usr/bin/env python3
"""The state machines of the C code as diagrams: reads their tables, prints Mermaid.

usage: diagrams.py            prints them
       diagrams.py --write    puts them into CONTRIBUTING.md, between its two marks"""

import os
import re
import sys

from tree import CODE, ROOT, on_disk, read, without

DOCUMENT = "CONTRIBUTING.md"
BEGIN = "<!-- State machines: made by tests/hygiene/diagrams.py --write, from the tables in the C files. -->"
END = "<!-- End of the state machines. -->"


def names(text, variable):
    """The strings of an array of names."""
    body = re.search(rf"\b{variable}\[\] = {{(.*?)}};", text, re.S).group(1)
    return re.findall(r'"([^"]*)"', body)


def enumerators(path):
    """{enumerator: number} of all enums of the file and of the headers beside it."""
    folder = os.path.dirname(path)
    found = {}
    for header in [path] + [other for other in on_disk(folder, ending=".h") if os.path.dirname(other) == folder]:
        for body in re.findall(r"\benum\s+\w*\s*{([^}]*)}", without(read(header))):
            for number, name in enumerate(re.findall(r"\b[A-Z]\w*", body)):
                found.setdefault(name, number)
    return found


class Machine:
    def __init__(self, path):
        text = without(read(path), literals=False)
        self.path = path
        table = re.search(r"static const struct (?:machine_row|state_move) (\w+)\[\] = {(.*?)\n};", text, re.S)
        machine = re.search(r"^const struct (?:machine|state_machine) \w+ = {(.*?)}", text, re.S | re.M).group(1)
        self.name = re.search(r'"([^"]*)"', machine).group(1)
        states, events = re.search(r"(\w*state\w*)\b(?!_count).*?(\w*event\w*)", machine, re.S).groups()
        self.states, self.events = names(text, states), names(text, events)
        number = enumerators(path)
        self.rows = [(self.states[number[origin]], self.events[number[event]], self.states[number[target]], why)
                     for origin, event, target, why in re.findall(r'{(\w+), (\w+), (\w+),\s*"([^"]*)"}', table.group(2))]
        assert len(self.rows) == table.group(2).count("{"), f"{path}: a row was not understood"

    def diagram(self):
        def place(state):
            return re.sub(r"\W", "_", state)

        def plain(text):
            return re.sub(r"\s*[:;]\s*", ", ", text)  # both end a description in Mermaid

        lines = [f'    state "{state}" as {place(state)}' for state in self.states if place(state) != state]
        lines.append(f"    [*] --> {place(self.states[0])}")
        for origin, event, target, why in self.rows:
            lines.append(f"    {place(origin)} --> {place(target)} : {plain(event)} ({plain(why)})")
        leaving = {origin for origin, _, target, _ in self.rows if origin != target}
        lines += [f"    {place(state)} --> [*]" for state in self.states if state not in leaving]
        return "\n".join([f"**{self.name[0].upper() + self.name[1:]}** (`{self.path}`)", "", "```mermaid",
                          "stateDiagram-v2", *lines, "```"])


def machines():
    """Every file that holds a table of moves."""
    return [Machine(path) for path in on_disk(*CODE, ending=".c")
            if re.search(r"static const struct (machine_row|state_move) \w+\[\]", read(path))]


def section():
    return "\n\n".join([BEGIN] + [machine.diagram() for machine in machines()] + [END])


def main():
    if sys.argv[1:] == []:
        print(section())
        return
    if sys.argv[1:] != ["--write"]:
        sys.exit(__doc__)
    text = read(DOCUMENT)
    start, end = text.index(BEGIN), text.index(END) + len(END)
    with open(os.path.join(ROOT, DOCUMENT), "w", encoding="utf-8") as file:
        file.write(text[:start] + section() + text[end:])


if __name__ == "__main__":
    main()

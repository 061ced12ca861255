"""Adds up JUnit files: prints `passed failed skipped`. A file that is missing or broken is a failure."""

import sys
import xml.etree.ElementTree as tree


def count(path):
    try:
        root = tree.parse(path).getroot()
    except (OSError, tree.ParseError) as error:
        print(f"{path}: {error}", file=sys.stderr)
        return 0, 1, 0
    passed = failed = skipped = 0
    for case in root.iter("testcase"):
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            failed += 1
        elif "skipped" in kinds:
            skipped += 1
        else:
            passed += 1
    return passed, failed, skipped


print(*(sum(column) for column in zip(*map(count, sys.argv[1:]))))

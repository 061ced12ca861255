"""Waiting for something that must come true: with a limit, and with a reason when it does not."""

import time


def wait_until(condition, limit=15, why="it to come true", pause=0.02):
    """Returns the first true value of condition(). `why` is a text or a function that makes one."""
    end = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise AssertionError(f"waited {limit} s in vain for {why() if callable(why) else why}")
        time.sleep(pause)


def wait_for_clock(instant, why="a point in time"):
    """Until time.time() has reached the instant: for tests whose subject is a length of time."""
    wait_until(lambda: time.time() >= instant, max(0.0, instant - time.time()) + 5, why, pause=0.01)


def holds_for(condition, duration, why="it to stay so", pause=0.05):
    """Asserts that condition() is true again and again for so long."""
    end = time.monotonic() + duration
    while time.monotonic() < end:
        assert condition(), f"not for {duration} s: {why() if callable(why) else why}"
        time.sleep(pause)

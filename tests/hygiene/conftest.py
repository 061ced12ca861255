"""Rules that need no database and no build: python3 -m pytest tests/hygiene."""

import os
import sys

sys.path.insert(0, os.path.dirname(__file__))

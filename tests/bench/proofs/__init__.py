"""Commands that prove, on the published networks, what the runtime promises; each writes what it found.

Their modules share the tests' helpers, which pytest finds by its `pythonpath`; as a command we add the folder here.
"""

import sys
from pathlib import Path

TESTS = str(Path(__file__).resolve().parents[2])
if TESTS not in sys.path:
    sys.path.append(TESTS)

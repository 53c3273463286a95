"""Makes the case builders beside this file importable from every test below it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

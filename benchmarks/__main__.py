"""All benchmarks, with JSON under build/bench: `make bench`."""

import subprocess
import sys
from pathlib import Path

BENCHMARKS = ("kernels", "compression", "baselines")
FOLDER = Path("build/bench")


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in BENCHMARKS:
        file = FOLDER / f"{name}.json"
        print(f"benchmarks.{name}, JSON in {file}", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", "--json", str(file)]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()

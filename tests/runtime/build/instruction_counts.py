"""Count the instructions that a node executes, with the log of qemu's user-mode emulator.

The log names every block of instructions that is translated, with its instructions, and every
block that is executed. Chaining of blocks is off, so none is left out.
"""

import re
import subprocess
from collections import Counter
from pathlib import Path

from runtime.host.processor import command

_START = re.compile(r"^0x([0-9a-f]+):\s+[0-9a-f]+\s+(\S+)")
_EXECUTED = re.compile(r"^Trace \d+: \S+ \[[0-9a-f]+/([0-9a-f]+)/")


def per_request(node: Path, processor: str) -> Counter[str]:
    """Instructions of one request, by mnemonic: the difference between three runs and one."""
    three, one = (_counted(node, processor, runs) for runs in (3, 1))
    return Counter({name: (three[name] - one[name]) // 2 for name in three})


def _counted(node: Path, processor: str, runs: int) -> Counter[str]:
    emulator, *program = command(node, processor)
    log = node.with_name(f"{runs}.log")
    logged = ["-d", "exec,nochain,in_asm", "-D", str(log)]
    subprocess.run(
        [emulator, *logged, *program, "--bench", str(runs)], check=True, capture_output=True
    )
    blocks: dict[int, list[str]] = {}
    executed: Counter[int] = Counter()
    with log.open() as lines:
        block: list[str] | None = None
        for line in lines:
            if line.startswith("IN:"):
                block = []
            elif block is not None and (found := _START.match(line)):
                if not block:
                    blocks[int(found.group(1), 16)] = block
                block.append(found.group(2))
            elif line.startswith("Trace"):
                block = None
                if match := _EXECUTED.match(line):
                    executed[int(match.group(1), 16)] += 1
    log.unlink()
    total: Counter[str] = Counter()
    for start, times in executed.items():
        for name in blocks[start]:
            total[name] += times
    return total

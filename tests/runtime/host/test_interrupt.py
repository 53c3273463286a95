"""The host program itself is interrupted or killed: no node outlives it."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

import pytest

from runtime.host import Bundle

ROOT = Path(__file__).parents[3]

SCRIPT = """
import sys
import numpy as np
from runtime.host import Bundle
with Bundle.open(sys.argv[1]).launch(timeout_s=60) as deployment:
    print("up", flush=True)
    deployment(np.full((2, 3), float(sys.argv[2]), np.float32))
    sys.stdin.read()
"""


def nodes_of(bundle: Bundle) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_text().split("\0")
            except OSError:
                continue
            if words[0].startswith(str(bundle.path)):
                found.append(int(entry.name))
    return found


def until_gone(bundle: Bundle, limit_s: float = 10.0) -> bool:
    end = monotonic() + limit_s
    while nodes_of(bundle) and monotonic() < end:
        sleep(0.02)
    return not nodes_of(bundle)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("value", [1.0, 98.0], ids=["idle", "busy"])
def test_host_ends(chain: Bundle, number: signal.Signals, value: float) -> None:
    words = [sys.executable, "-c", SCRIPT, str(chain.path), str(value)]
    with subprocess.Popen(
        words,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as host:
        assert host.stdout is not None
        assert host.stdout.readline() == "up\n"
        assert len(nodes_of(chain)) == 3
        host.send_signal(number)
        _, said = host.communicate(timeout=20)
    assert until_gone(chain)
    assert host.returncode in (-number, 130)
    assert ("KeyboardInterrupt" in said) == (number == signal.SIGINT)

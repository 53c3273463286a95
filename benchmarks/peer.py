"""ONNX Runtime as the peer: its process, stopped while the other side is measured."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import files
from pathlib import Path
from typing import Any

import numpy as np


class Peer:
    """ONNX Runtime in its own process.

    Its threads spin between requests, which is part of its speed and is left to it; but they
    would take the processors from whoever runs next. So the process is stopped (SIGSTOP) whenever
    it is not its turn.
    """

    def __init__(self, model: Path, inputs: Path, threads: int) -> None:
        words = (str(model), str(inputs), str(threads))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.ort_worker", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.first_answer_s = float(self._answer()["first_answer_s"])
        self._stop()

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.send_signal(signal.SIGCONT)
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def ask(self, line: str) -> Any:
        """The answer to a request; the process runs only meanwhile."""
        assert self.process.stdin is not None
        self.process.send_signal(signal.SIGCONT)
        with suppress(BrokenPipeError):  # that it ended, the missing answer says
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        answer = self._answer()
        self._stop()
        return answer

    def run(self, times: int) -> list[float]:
        """Seconds of each of so many runs."""
        return [float(s) for s in self.ask(f"run {times}")]

    def outputs(self, folder: Path) -> list[np.ndarray]:
        """What the model gave, in its own order."""
        arrays = np.load(self.ask(f"save {folder / 'outputs.npz'}"))
        return [arrays[name] for name in sorted(arrays)]

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("ONNX Runtime ended early; its own message stands above")
        return json.loads(line)

    def _stop(self) -> None:
        self.process.send_signal(signal.SIGSTOP)
        pid, either = self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT
        found = os.waitid(os.P_PID, pid, either)
        if found is not None and found.si_code == os.CLD_STOPPED:
            os.waitid(os.P_PID, pid, os.WSTOPPED)  # that it exited is for Popen to see


def package_bytes(name: str) -> int:
    """Size of an installed package on disk."""
    found = (Path(str(file.locate())) for file in files(name) or [])
    return sum(path.stat().st_size for path in found if path.is_file())

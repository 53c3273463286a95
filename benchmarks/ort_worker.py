"""ONNX Runtime in a process of its own: reads one line per request, answers with one JSON line.

``run N`` runs the model N times and gives the seconds of each; ``save PATH`` writes the outputs;
``peak`` gives the peak resident memory. The first line it prints says what it took to the first
answer. Neither figure counts the Python interpreter and numpy, which a program would do without.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np


def main(model: str, inputs_file: str, threads: int) -> None:
    arrays = dict(np.load(inputs_file))
    before_bytes, start_s = _status("VmRSS"), time.perf_counter()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feed = {item.name: arrays[item.name] for item in session.get_inputs()}
    outputs = session.run(None, feed)
    say({"first_answer_s": time.perf_counter() - start_s})
    for line in sys.stdin:
        verb, _, rest = line.strip().partition(" ")
        if verb == "run":
            say([_timed(session, feed) for _ in range(int(rest))])
        elif verb == "save":
            np.savez(rest, allow_pickle=False, **{f"{i:03d}": v for i, v in enumerate(outputs)})
            say(rest)
        elif verb == "peak":
            say(_status("VmHWM") - before_bytes)


def _status(field: str) -> int:
    # Not getrusage: its maximum survives exec, so that it counts the parent's memory at the fork.
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(field))
    return int(line.split()[1]) * 1024


def _timed(session: object, feed: dict[str, np.ndarray]) -> float:
    start = time.perf_counter()
    session.run(None, feed)  # type: ignore[attr-defined]
    return time.perf_counter() - start


def say(value: object) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))

"""Real node processes, fed by the host."""

import gc
import itertools
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.host import Bundle
from splitter.errors import (
    BundleError,
    DeploymentError,
    InputError,
    ToolchainError,
    UsageError,
)

Build = Callable[[Any], Bundle]
Answer = Callable[[Any, Mapping[str, np.ndarray]], tuple[np.ndarray, ...]]

KILL, HANG, SLOW, ERROR = 13.0, 99.0, 5.0, 666.0
"""First elements at which the toy kernel misbehaves."""


def x(value: float = 0.0) -> np.ndarray:
    return np.full((2, 3), value, np.float32)


def children() -> list[int]:
    task = Path(f"/proc/{os.getpid()}/task")
    return [int(p) for t in task.iterdir() for p in (t / "children").read_text().split()]


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    threads, files = threading.active_count(), open_files()
    yield
    gc.collect()
    assert children() == []
    assert threading.active_count() == threads
    assert open_files() == files


def pid_of(bundle: Bundle, device: str) -> int:
    program = str(bundle.path / "nodes" / device / "node")
    return next(
        p for p in children() if program in Path(f"/proc/{p}/cmdline").read_text().split("\0")
    )


# --- it works


def test_one_request(chain: Bundle) -> None:
    with chain.launch(timeout_s=10) as deployment:
        assert np.array_equal(deployment(x(1)), x(4))
        assert np.array_equal(deployment(x=x(2)), x(5))


def test_map_keeps_the_order_and_reads_lazily(chain: Bundle) -> None:
    taken: list[int] = []

    def items() -> Iterator[np.ndarray]:
        for i in range(50):
            taken.append(i)
            yield x(1000 + i)

    with chain.launch(timeout_s=10) as deployment:
        for i, y in enumerate(deployment.map(items(), in_flight=4)):
            assert np.array_equal(y, x(1003 + i))
            assert len(taken) <= i + 4
        assert [t.request for t in deployment.times] == list(range(50))
        assert all(t.start_ns < t.end_ns for t in deployment.times)


def test_map_may_be_left_and_its_buffer_reused(chain: Bundle) -> None:
    def items() -> Iterator[np.ndarray]:
        buffer = x(1000)
        while True:
            yield buffer
            buffer += 1

    with chain.launch(timeout_s=10) as deployment:
        results = deployment.map(items())
        assert [float(next(results)[0, 0]) for _ in range(4)] == [1003, 1004, 1005, 1006]
        results.close()
        assert np.array_equal(deployment(x(100)), x(103))


def test_several_callers_at_once(chain: Bundle) -> None:
    with chain.launch(timeout_s=10) as deployment:
        answers: dict[int, np.ndarray] = {}

        def call(i: int) -> None:
            answers[i] = deployment(x(1000 + i))

        threads = [threading.Thread(target=call, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert all(np.array_equal(answers[i], x(1003 + i)) for i in range(8))


@pytest.mark.parametrize("sink", ["a", "b", "c"])
def test_several_inputs_and_outputs(toys: Any, build: Build, answer: Answer, sink: str) -> None:
    """One tensor is an input and an output, one output is listed twice, one input is not read."""
    toy = toys(
        layers={
            "p": (("x",), "a"),
            "q": (("p", "n"), "b"),
            "r": (("p", "q"), "a"),
            "s": (("r", "q", "x"), "c"),
        },
        inputs={"x": "float32", "n": "int64", "unused": "float64"},
        outputs=("s", "p", "x", "s", "r"),
        sink=sink,
    )
    bundle = build(toy)
    inputs = {
        "x": x(2),
        "n": np.arange(6, dtype=np.int64).reshape(2, 3),
        "unused": np.zeros((2, 3)),
    }
    with bundle.launch(timeout_s=10) as deployment:
        wanted = answer(toy, inputs)
        for found in (
            deployment(*inputs.values()),
            deployment(x(2), **dict(list(inputs.items())[1:])),
            *deployment.map([tuple(inputs.values()), inputs]),
        ):
            assert all(map(np.array_equal, found, wanted))


@pytest.mark.parametrize("shape", [(), (1,), (2, 1, 3)])
def test_odd_shapes(toys: Any, build: Build, shape: tuple[int, ...]) -> None:
    bundle = build(toys({"y": (("x",), "b")}, ("y",), shape=shape, sink="a"))
    with bundle.launch(timeout_s=10) as deployment:
        found = deployment(np.ones(shape, np.float32))
        assert found.shape == shape
        assert np.array_equal(found, np.full(shape, 2, np.float32))


def test_large_tensors(toys: Any, build: Build) -> None:
    """More than all socket buffers on the way hold, so that every back-pressure is felt."""
    toy = toys({"p": (("x",), "a"), "q": (("p",), "b")}, ("q",), shape=(1200, 1300), sink="b")
    with build(toy).launch(timeout_s=30) as deployment:
        for i, y in enumerate(
            deployment.map(np.full((1200, 1300), i, np.float32) for i in range(1000, 1012))
        ):
            assert float(y[0, 0]) == float(y[-1, -1]) == 1002 + i


def test_traces_and_records(chain: Bundle, tmp_path: Path) -> None:
    with chain.launch(
        timeout_s=10, trace_dir=tmp_path / "t", record_dir=tmp_path / "r", threads=2
    ) as deployment:
        deployment(x(1))
        deployment(x(2))
    assert sorted(p.name for p in (tmp_path / "t").iterdir()) == [
        f"trace-{d}.csv" for d in chain.manifest.nodes
    ]
    wire = chain.wire["two"]
    recorded = np.fromfile(tmp_path / "r" / "b" / f"{wire}.bin", np.float32)
    assert np.array_equal(recorded.reshape(2, 3), x(3))


def test_shaped_links(toys: Any, build: Build) -> None:
    toy = toys({"p": (("x",), "a"), "q": (("p",), "b"), "r": (("q",), "c")}, ("r",), latency_s=0.03)
    with build(toy).launch(timeout_s=10, shape_links=True) as deployment:
        assert np.array_equal(deployment(x(1)), x(4))
        found = list(deployment.map(x(1000 + i) for i in range(20)))
        assert all(np.array_equal(y, x(1003 + i)) for i, y in enumerate(found))
        time = deployment.times[0]
        assert time.end_ns - time.start_ns >= 2 * 30_000_000


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [probe.getsockname()[1] for probe in probes]


def test_nodes_that_run_already(chain: Bundle, tmp_path: Path) -> None:
    """As on several machines: each node with a peers file, then the host, which starts nothing."""
    names = ("a", "b", "c", "host")
    at = {n: f"127.0.0.1:{p}" for n, p in zip(names, free_ports(4), strict=True)}
    peers = "".join(f'{name} = "{address}"\n' for name, address in at.items())
    with ExitStack() as stack:
        nodes = []
        for name in names[:3]:
            home = shutil.copytree(chain.path / "nodes" / name, tmp_path / name)
            (home / "peers.toml").write_text(f'listen = "{at[name]}"\n[peers]\n{peers}')
            node = subprocess.Popen([home / "node"], stdout=subprocess.DEVNULL)
            nodes.append(stack.enter_context(node))
            stack.callback(node.kill)
        with chain.connect(at, timeout_s=10, listen=at["host"]) as deployment:
            assert str(deployment) == "toy on nodes on other machines: running, 0 requests"
            assert np.array_equal(deployment(x(1)), x(4))
            assert sum(1 for _ in deployment.map([x(1)] * 10)) == 10
        assert [node.wait(10) for node in nodes] == [0, 0, 0]


def test_nobody_to_connect_to(chain: Bundle) -> None:
    with pytest.raises(DeploymentError, match=r"cannot connect to node a at 127\.0\.0\.1:1"):
        chain.connect({"a": "127.0.0.1:1"}, timeout_s=0.3)
    with pytest.raises(UsageError, match="'a:b' is no address"):
        chain.connect({"a": "a:b"})


# --- wrong inputs


@pytest.mark.parametrize(
    ("arrays", "named", "message"),
    [
        ((), {}, r"input 'x' is not given; the model takes x: float32\[2, 3\]"),
        ((x(), x()), {}, "2 inputs were given"),
        ((x(),), {"x": x()}, "given twice"),
        ((x(),), {"y": x()}, "there is no input 'y'"),
        ((x().T,), {}, r"input 'x' is float32\[3, 2\], expected float32\[2, 3\]"),
        ((x()[0],), {}, r"input 'x' is float32\[3\], expected"),
        ((x().astype(np.float64),), {}, r"input 'x' is float64\[2, 3\], expected float32"),
        ((x().astype(">f4"),), {}, r"input 'x' is >f4\[2, 3\], expected float32"),
        (([[0.0]],), {}, "input 'x' is a list, not an array"),
        ((None,), {}, "input 'x' is a NoneType, not an array"),
    ],
)
def test_wrong_input(chain: Bundle, arrays: Any, named: Any, message: str) -> None:
    with chain.launch(timeout_s=10) as deployment:
        with pytest.raises(InputError, match=message):
            deployment(*arrays, **named)
        assert np.array_equal(deployment(x(1)), x(4))


def test_array_that_refuses(chain: Bundle) -> None:
    class Refuses:
        def __array__(self, *_: object, **__: object) -> np.ndarray:
            raise RuntimeError("call detach first")

    with chain.launch(timeout_s=10) as deployment, pytest.raises(InputError, match="call detach"):
        deployment(Refuses())


def test_wrong_item_in_the_middle(chain: Bundle) -> None:
    with chain.launch(timeout_s=10) as deployment:
        results = deployment.map([x(1), x(2), None], in_flight=2)
        assert np.array_equal(next(results), x(4))
        with pytest.raises(InputError):
            next(results)
        assert np.array_equal(deployment(x(1)), x(4))


def test_wrong_options(chain: Bundle, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for options, message in (
        ({"timeout_s": 0.0}, "timeout_s is 0.0"),
        ({"threads": 0}, "threads is 0"),
        ({"listen": "here"}, "'here' is no address"),
        ({"listen": "192.0.2.1:1"}, "cannot listen at 192.0.2.1:1"),
        ({"trace_dir": tmp_path / "file" / "t"}, "cannot make the folder"),
    ):
        with pytest.raises(UsageError, match=message):
            chain.launch(**options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="source node a is missing"):
        chain.connect({})
    with chain.launch(timeout_s=10) as deployment, pytest.raises(UsageError, match="in_flight"):
        deployment.map([], in_flight=0)


# --- what goes wrong


def fails(bundle: Bundle, value: float, message: str, **options: Any) -> None:
    with pytest.raises(DeploymentError, match=message), bundle.launch(**options) as deployment:
        deployment(x(value))


def test_kernel_error_is_the_nodes_own(chain: Bundle) -> None:
    message = (
        r"node b ended with exit code 6: node b: layer two .* failed: ValueError: "
        "the number of the beast"
    )
    fails(chain, ERROR - 1, message, timeout_s=10)


def test_node_killed_in_a_request(chain: Bundle) -> None:
    fails(chain, KILL - 2, "node c was killed by SIGKILL", timeout_s=10)


def test_node_stalls(chain: Bundle) -> None:
    message = "request 0 made no progress for 0.5 s; still running: a, b, c"
    fails(chain, HANG - 1, message, timeout_s=0.5)


def test_failure_in_map_and_after(chain: Bundle) -> None:
    with chain.launch(timeout_s=10) as deployment:
        results = deployment.map([x(1), x(2), x(ERROR), x(3)], in_flight=2)
        assert np.array_equal(next(results), x(4))
        assert np.array_equal(next(results), x(5))
        with pytest.raises(DeploymentError, match="node a ended with exit code 6"):
            next(results)
        with pytest.raises(DeploymentError, match="node a ended with exit code 6"):
            deployment(x(1))


def test_closed_deployment(chain: Bundle) -> None:
    deployment = chain.launch(timeout_s=10)
    assert str(deployment) == "toy on a, b, c: running, 0 requests"
    deployment.close()
    deployment.close()
    assert str(deployment) == "toy on a, b, c: closed, 0 requests"
    with pytest.raises(DeploymentError, match="the deployment is closed"):
        deployment(x(1))


def test_idle_node_dies(chain: Bundle) -> None:
    deployment = chain.launch(timeout_s=10)
    deployment(x(1))
    os.kill(pid_of(chain, "b"), signal.SIGKILL)
    with pytest.raises(DeploymentError, match="node b was killed by SIGKILL"):
        deployment.close()


def test_node_is_told_to_stop(chain: Bundle) -> None:
    """It drains and says BYE, which is no error of any node, but no answer either."""
    with chain.launch(timeout_s=10) as deployment:
        deployment(x(1))
        os.kill(pid_of(chain, "b"), signal.SIGTERM)
        with pytest.raises(DeploymentError, match=r"node [bc] ended with exit code 0"):
            deque(deployment.map(itertools.repeat(x(1))), maxlen=0)


def test_hung_node_at_close(chain: Bundle) -> None:
    deployment = chain.launch(timeout_s=0.5)
    os.kill(pid_of(chain, "c"), signal.SIGSTOP)
    with pytest.raises(DeploymentError, match=r"no end after BYE in 0\.5 s; still running: c"):
        deployment.close()


def test_exception_in_the_block_stops_all(chain: Bundle) -> None:
    with pytest.raises(ZeroDivisionError), chain.launch(timeout_s=10):
        raise ZeroDivisionError


def use(bundle: Path, device: str, script: str) -> Bundle:
    """The bundle with a script for one of its programs."""
    program = bundle / "nodes" / device / "node"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return _unchecked(bundle)


def _unchecked(path: Path) -> Bundle:
    manifest = path / "manifest.json"
    data = json.loads(manifest.read_text())
    for name, facts in data["files"].items():
        facts["bytes"] = (path / name).stat().st_size
    for device, node in data["nodes"].items():
        node["program_bytes"] = (path / "nodes" / device / "node").stat().st_size
    manifest.write_text(json.dumps(data))
    return Bundle.open(path, verify=False)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exit 0", "node b ended with exit code 0: it said nothing"),
        ("echo cannot >&2; exit 3", "node b ended with exit code 3: cannot"),
        ("exec sleep 60", "node b does not start listening in time"),
        ("kill -SEGV $$", "node b was killed by SIGSEGV"),
        ("head -c 100000 /dev/zero; exit 7", "node b ended with exit code 7"),
        (
            "echo listening 127.0.0.1:1; exec sleep 60",
            "not all nodes are ready in time: node a is not, node b is not",
        ),
        ("echo listening nowhere; exec sleep 60", "node a .*'nowhere' is no address"),
    ],
)
def test_program_that_is_no_node(own_chain: Path, script: str, message: str) -> None:
    with pytest.raises(DeploymentError, match=message):
        use(own_chain, "b", script).launch(timeout_s=0.6)


def test_source_that_listens_nowhere(own_chain: Path) -> None:
    bundle = use(own_chain, "a", "echo listening nowhere; exec sleep 60")
    with pytest.raises(DeploymentError, match="nowhere"):
        bundle.launch(timeout_s=0.6)


def test_program_that_cannot_be_started(own_chain: Path) -> None:
    program = own_chain / "nodes" / "b" / "node"
    program.chmod(0o644)
    with pytest.raises(BundleError, match=r"nodes/b/node cannot be executed; .* chmod \+x"):
        Bundle.open(own_chain).launch()
    program.write_bytes(b"\x7fELF what")
    program.chmod(0o755)
    with pytest.raises(BundleError, match=r"node b cannot be started: .*: Exec format error"):
        _unchecked(own_chain).launch()


def test_missing_emulator(
    toys: Any, build: Build, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    toy = toys({"y": (("x",), "b")}, ("y",), processors={"b": "riscv64"})
    bundle = build(toy)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolchainError, match=r"qemu-riscv64-static .* package qemu-user-static"):
        bundle.launch()


def test_weights_of_another_node(own_chain: Path) -> None:
    nodes = own_chain / "nodes"
    (nodes / "b" / "weights.bin").write_bytes((nodes / "a" / "weights.bin").read_bytes())
    with pytest.raises(DeploymentError, match=r"exit code 3: .* weights of node a, not b"):
        Bundle.open(own_chain, verify=False).launch(timeout_s=5)


# --- emulators and links


@pytest.mark.foreign
def test_nodes_under_an_emulator(chain: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that says it is another, the nodes of this one are foreign."""
    if shutil.which("qemu-x86_64-static") is None:
        pytest.skip("qemu-user-static is not installed")
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with chain.launch(timeout_s=60) as deployment:
        assert np.array_equal(deployment(x(1)), x(4))
        assert sum(1 for _ in deployment.map([x(1)] * 10)) == 10
    fails(chain, ERROR - 1, "node b ended with exit code 6: .* of the beast", timeout_s=60)


def test_failure_behind_shaped_links(toys: Any, build: Build) -> None:
    """The relays pass on that a peer is lost, both ways."""
    toy = toys({"p": (("x",), "a"), "q": (("p",), "b"), "r": (("q",), "c")}, ("r",))
    bundle = build(toy)
    fails(bundle, KILL - 1, "node b was killed by SIGKILL", timeout_s=10, shape_links=True)


def test_shaped_bandwidth(toys: Any, build: Build) -> None:
    layers = {"p": (("x",), "a"), "q": (("p",), "b")}
    toy = toys(
        layers, ("q",), shape=(250, 1000), sink="b", bandwidth_bytes_per_s=1e7, latency_s=0.01
    )
    with build(toy).launch(timeout_s=20, shape_links=True) as deployment:
        for _ in range(2):
            deployment(np.ones((250, 1000), np.float32))
        assert all(t.end_ns - t.start_ns >= 110_000_000 for t in deployment.times)

"""What a node does when everything is right."""

import contextlib
import csv
import socket
import subprocess
from pathlib import Path

import numpy as np
import pytest
from node_harness import (
    AFTER_CALL,
    AFTER_RECEIVE,
    ARENA,
    BYE,
    TENSOR,
    WEIGHTS,
    Builder,
    Node,
    Tables,
    Tensor,
    address_of,
    frame,
    greet,
    in_background,
    listener,
    peers_text,
    read_frame,
    relay,
    run,
    session,
    simple,
    tensor_frame,
    values,
    vector,
    welcome,
    zig,
)


def _pipeline(folder: Path, count: int, length: int = 16) -> None:
    with session(folder) as it:

        def feed() -> None:
            for request in range(count):
                it.feed.sendall(tensor_frame(request, 0, values(request, length)))
            it.feed.sendall(frame(BYE, count))

        with in_background(feed):
            for request in range(count):
                got = read_frame(it.result)
                assert (got.kind, got.request, got.wire) == (TENSOR, request, 1)
                np.testing.assert_array_equal(got.values, 2 * values(request, length))
            last = read_frame(it.result)
            assert (last.kind, last.request) == (BYE, count)
            assert it.node.ended() == (0, "")


def test_one_request_at_a_time(simple_node: Path) -> None:
    with session(simple_node) as it:
        for request in range(5):
            got = it.ask(request, values(request))
            np.testing.assert_array_equal(got.values, 2 * values(request))
        assert it.bye(5) == (0, "")


def test_many_requests_in_flight(sanitized: Builder) -> None:
    _pipeline(sanitized.node(simple(slots=4)), 300)


def test_large_tensors(sanitized: Builder) -> None:
    _pipeline(sanitized.node(simple(slots=2, length=200_000)), 20, 200_000)


def test_one_slot(sanitized: Builder) -> None:
    _pipeline(sanitized.node(simple(slots=1)), 20)


def test_no_data_race(racing: Builder) -> None:
    _pipeline(racing.node(simple("kernel_parallel", slots=3, threads=3)), 100)


def test_bye_without_requests(simple_node: Path) -> None:
    with session(simple_node) as it:
        assert it.bye(0) == (0, "")


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_parallel_kernel(sanitized: Builder, threads: int) -> None:
    with session(sanitized.node(simple("kernel_parallel", 1000, threads=threads))) as it:
        for request in range(3):
            got = it.ask(request, values(request, 1000))
            np.testing.assert_array_equal(got.values, 2 * values(request, 1000))
        assert it.bye(3) == (0, "")


@pytest.mark.parametrize("threads", [1, 2])
def test_barrier(sanitized: Builder, threads: int) -> None:
    with session(sanitized.node(simple("kernel_barrier", threads=threads))) as it:
        got = it.ask(0, values(0))
        np.testing.assert_array_equal(got.values, 2 * values(0) + 30)
        assert it.bye(1) == (0, "")


def test_workspaces(sanitized: Builder) -> None:
    with session(sanitized.node(simple("kernel_workspace"))) as it:
        for request in range(10):
            np.testing.assert_array_equal(it.ask(request, values(0)).values, values(0) + 1)
        assert it.bye(10) == (0, "")


def _weighted() -> Tables:
    """host -> x; arena = x + constant; out = 2 * arena -> host."""
    constants = np.full(16, 10, np.float32).tobytes()
    return simple(
        tensors=[vector(0), vector(64), vector(64, WEIGHTS), vector(0, ARENA)],
        calls=[("kernel_add", [0, 2, 3]), ("kernel_double", [3, 1])],
        stages=[(0, 2, [0])],
        sends=[(1, 1, 0, AFTER_CALL, 1)],
        constants=constants,
    )


def test_weights_and_arena(sanitized: Builder) -> None:
    with session(sanitized.node(_weighted())) as it:
        np.testing.assert_array_equal(it.ask(0, values(3)).values, 2 * (values(3) + 10))
        assert it.bye(1) == (0, "")


def test_shapes_of_other_ranks(sanitized: Builder) -> None:
    tensors = [Tensor(1, (2, 2, 2, 2), 0), Tensor(1, (4, 4), 64)]
    with session(sanitized.node(simple(tensors=tensors))) as it:
        np.testing.assert_array_equal(it.ask(0, values(1)).values, 2 * values(1))
        assert it.bye(1) == (0, "")


def test_relay_without_layers(sanitized: Builder) -> None:
    with session(sanitized.node(relay())) as it:
        for request in range(7):
            np.testing.assert_array_equal(it.ask(request, values(request)).values, values(request))
        assert it.bye(7) == (0, "")


def test_several_tensors_from_one_peer_and_one_to_several(sanitized: Builder) -> None:
    tables = Tables(
        tensors=[vector(0), vector(64), vector(128)],
        peers=["host", "log"],
        calls=[("kernel_add", [0, 1, 2])],
        stages=[(0, 1, [0, 1])],
        receives=[(0, 0, 0), (1, 1, 0)],
        sends=[
            (2, 2, 0, AFTER_CALL, 0),
            (2, 2, 1, AFTER_CALL, 0),
            (0, 0, 1, AFTER_RECEIVE, 0),
        ],
    )
    folder = sanitized.node(tables)
    with listener() as host, listener() as log, Node(folder, "--peers", "-") as node:
        address = node.address()
        node.tell_peers(peers_text({"host": address_of(host), "log": address_of(log)}))
        with (
            greet(address, "host", "a") as feed,
            welcome(host, "host", "a") as result,
            welcome(log, "log", "a") as copy,
        ):
            for request in range(4):
                feed.sendall(tensor_frame(request, 1, values(5)))
                feed.sendall(tensor_frame(request, 0, values(request)))
                got = read_frame(result)
                assert (got.request, got.wire) == (request, 2)
                np.testing.assert_array_equal(got.values, values(request) + values(5))
                relayed, sent = read_frame(copy), read_frame(copy)
                assert (relayed.wire, sent.wire) == (0, 2)
                np.testing.assert_array_equal(relayed.values, values(request))
                np.testing.assert_array_equal(sent.values, got.values)
            feed.sendall(frame(BYE, 4))
            assert [read_frame(to).kind for to in (result, copy)] == [BYE, BYE]
            assert node.ended() == (0, "")


def _loop() -> tuple[Tables, Tables]:
    """host -> a: t1 = 2 x -> b: t2 = 2 t1 -> a: y = t1 + t2 = 6 x -> host."""
    a = Tables(
        tensors=[vector(0), vector(64), vector(128), vector(192)],
        peers=["host", "b"],
        calls=[("kernel_double", [0, 1]), ("kernel_add", [1, 2, 3])],
        stages=[(0, 1, [0]), (1, 1, [1])],
        receives=[(0, 0, 0), (2, 2, 1)],
        sends=[(1, 1, 1, AFTER_CALL, 0), (3, 3, 0, AFTER_CALL, 1)],
        slots=3,
    )
    b = Tables(
        node="b",
        tensors=[vector(0), vector(64)],
        peers=["a"],
        calls=[("kernel_double", [0, 1])],
        stages=[(0, 1, [0])],
        receives=[(0, 1, 0)],
        sends=[(1, 2, 0, AFTER_CALL, 0)],
        slots=3,
    )
    return a, b


@pytest.mark.parametrize("way", ["sanitized", "racing"])
def test_loop_over_two_nodes(way: str, request: pytest.FixtureRequest) -> None:
    builder = request.getfixturevalue(way)
    first, second = (builder.node(tables) for tables in _loop())
    with (
        listener() as server,
        Node(first, "--peers", "-") as a,
        Node(second, "--peers", "-") as b,
    ):
        addresses = {"host": address_of(server), "a": a.address(), "b": b.address()}
        for node in (a, b):
            node.tell_peers(peers_text(addresses))
        with greet(addresses["a"], "host", "a") as feed, welcome(server, "host", "a") as result:
            assert [node.line() for node in (a, b)] == ["ready\n", "ready\n"]

            def send() -> None:
                for number in range(100):
                    feed.sendall(tensor_frame(number, 0, values(number)))
                feed.sendall(frame(BYE, 100))

            with in_background(send):
                for number in range(100):
                    got = read_frame(result)
                    assert (got.request, got.wire) == (number, 3)
                    np.testing.assert_array_equal(got.values, 6 * values(number))
                assert read_frame(result).request == 100
            assert [node.ended() for node in (a, b)] == [(0, ""), (0, "")]


def _send_until_blocked(connection: socket.socket, data: bytes) -> int:
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < len(data):
            sent += connection.send(data[sent : sent + 65536])
    return sent


def test_slow_sink_holds_the_feed_back(sanitized: Builder) -> None:
    """While nobody reads results, only what fits in slots and socket buffers is taken."""
    folder = sanitized.node(simple(length=100_000, slots=2))
    with session(folder) as it:
        it.feed.settimeout(1)
        data = b"".join(tensor_frame(r, 0, values(r, 100_000)) for r in range(200))
        sent = _send_until_blocked(it.feed, data)
        assert sent < 30e6
        it.feed.settimeout(None)

        def feed() -> None:
            it.feed.sendall(data[sent:] + frame(BYE, 200))

        with in_background(feed):
            for request in range(200):
                got = read_frame(it.result)
                assert got.request == request
                np.testing.assert_array_equal(got.values, 2 * values(request, 100_000))
            assert read_frame(it.result).kind == BYE
        assert it.node.ended() == (0, "")


def test_memory_stays_within_the_plan(plain: Builder, tmp_path: Path) -> None:
    """Peak resident memory < weights + slots + arena + 4 MB."""
    tables = simple(length=300_000, slots=2, threads=2)
    trace = tmp_path / "trace.csv"
    with session(plain.node(tables), "--trace", str(trace)) as it:
        for request in range(30):
            it.ask(request, values(request, 300_000))
        assert it.bye(30) == (0, "")
    rows = list(csv.DictReader(trace.read_text().splitlines()))
    assert rows[-1]["event"] == "exit"
    assert 0 < int(rows[-1]["index"]) < 2 * tables.storage_bytes(1) + 4e6


def test_trace_and_record(sanitized: Builder, tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    folder = sanitized.node(simple())
    with session(folder, "--trace", str(trace), "--record", str(tmp_path)) as it:
        for request in range(3):
            it.ask(request, values(request + 1))
        assert it.bye(3) == (0, "")
    rows = list(csv.DictReader(trace.read_text().splitlines()))
    events = {(row["event"], row["request"], row["index"]) for row in rows[:-1]}
    assert events == {
        (event, str(request), str(index))
        for request in range(3)
        for event, index in [("receive", 0), ("stage", 0), ("send", 1)]
    }
    assert all(int(row["start_ns"]) <= int(row["end_ns"]) for row in rows)
    np.testing.assert_array_equal(np.fromfile(tmp_path / "0.bin", "<f4"), values(1))
    np.testing.assert_array_equal(np.fromfile(tmp_path / "1.bin", "<f4"), 2 * values(1))


def test_peers_file_beside_the_node(sanitized: Builder) -> None:
    """Found without being named; says where to listen."""
    folder = sanitized.node(simple())
    with listener() as server:
        (folder / "peers.toml").write_text(
            f'listen = "[::1]:0"\n[peers]\nhost = "localhost:{server.getsockname()[1]}"\n'
            'stranger = "nowhere"\n'
        )
        with Node(folder) as node:
            address = node.address()
            assert address.startswith("[::1]:")
            with greet(address, "host", "a") as feed, welcome(server, "host", "a") as result:
                feed.sendall(tensor_frame(0, 0, values(0)) + frame(BYE, 1))
                np.testing.assert_array_equal(read_frame(result).values, 2 * values(0))
                assert node.ended() == (0, "")


def test_bench(sanitized: Builder) -> None:
    code, out, err = run(sanitized.node(_weighted()), "--bench", "4", "--threads", "2")
    assert (code, err) == (0, "")
    rows = list(csv.DictReader(out.splitlines()))
    assert [(row["index"], row["layer"]) for row in rows] == [("0", "layer0"), ("1", "layer1")]
    assert all(0 < float(row["min_s"]) <= float(row["median_s"]) < 1 for row in rows)


def test_describe(sanitized: Builder) -> None:
    tables = _weighted()
    code, out, err = run(sanitized.node(tables), "--describe")
    assert (code, err) == (0, "")
    assert dict(line.split("=") for line in out.splitlines()) == {
        "node": "a",
        "bundle_id": tables.bundle.hex(),
        "weights_bytes": str(len(tables.weights)),
        "decoded_bytes": "0",
        "slot_bytes": "128",
        "arena_bytes": "64",
        "slots": "2",
        "threads": "1",
        "calls": "2",
        "stages": "1",
    }


def test_help(simple_node: Path) -> None:
    code, out, err = run(simple_node, "--help")
    assert (code, err) == (0, "")
    assert out.startswith("usage: node ")


def test_nothing_is_left_listening_elsewhere(simple_node: Path) -> None:
    """Loopback unless told otherwise."""
    with session(simple_node) as it:
        assert it.address.startswith("127.0.0.1:")
        assert it.bye(0) == (0, "")


def test_exit_by_bye_needs_no_reader(simple_node: Path) -> None:
    """A sink that has gone after its last result is no fault."""
    with session(simple_node) as it:
        it.ask(0, values(0))
        it.result.close()
        it.feed.sendall(frame(BYE, 1))
        assert it.node.ended() == (0, "")


def test_stripped_static_size(tmp_path: Path) -> None:
    """The node program proper, without kernels and weights, is under 100 KB."""
    flags = ["-O2", "-ffunction-sections", "-fdata-sections", "-fno-asynchronous-unwind-tables"]
    flags += ["-fno-unwind-tables"]
    builder = Builder(
        tmp_path, flags, zig("x86_64-linux-musl"), ["-static", "-s", "-Wl,--gc-sections"]
    )
    folder = builder.node(relay())
    assert (folder / "node").stat().st_size < 100_000
    file_type = subprocess.run(
        ["readelf", "-lW", folder / "node"], capture_output=True, text=True, check=True
    ).stdout
    assert "INTERP" not in file_type
    with session(folder) as it:
        np.testing.assert_array_equal(it.ask(0, values(4)).values, values(4))
        assert it.bye(1) == (0, "")

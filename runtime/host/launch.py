"""Starting the nodes of a bundle on this machine, or reaching those that run elsewhere."""

import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from runtime.host.deployment import Deployment, Parts
from runtime.host.nodes import NodeProcess, await_addresses, end_all
from runtime.host.peers import Collector, Feeder
from runtime.host.processor import command
from runtime.host.requests import Requests
from runtime.host.shape import LinkRelays
from runtime.host.sockets import format_address, listen_at, parse_address
from runtime.host.trace import trace_name
from runtime.host.wire import Hello
from splitter.errors import UsageError
from splitter.schedule import HOST, host_ports

if TYPE_CHECKING:
    from runtime.host.bundle import Bundle


_THREADS_MAX, _TIMEOUT_MAX_S = 1024, 86_400
"""What a node takes."""


@dataclass(frozen=True, slots=True)
class LaunchOptions:
    """The arguments of `Bundle.launch`."""

    timeout_s: float
    trace_dir: Path | None
    record_dir: Path | None
    threads: int | None
    listen: str
    shape_links: bool


def launch(bundle: "Bundle", options: LaunchOptions) -> Deployment:
    """See `Bundle.launch`."""
    _check(options)
    deadline_s = monotonic() + options.timeout_s
    commands = {device: _command(bundle, device, options) for device in bundle.manifest.nodes}
    requests = Requests(bundle.graph.outputs)
    with ExitStack() as stop:
        listeners = _listen(bundle, options.listen, stop)
        nodes: list[NodeProcess] = []
        stop.callback(end_all, nodes)
        for device, words in commands.items():
            nodes.append(NodeProcess(device, words, requests.announce))
        addresses = await_addresses(nodes, requests.changed, deadline_s)
        relays = stop.enter_context(LinkRelays(bundle, addresses if options.shape_links else {}))
        for node in nodes:
            seen = addresses | relays.seen_from(node.device)
            if node.device in listeners:
                seen |= {HOST: format_address(listeners[node.device])}
            node.tell_peers(seen)
        return _deployment(bundle, requests, nodes, listeners, addresses, options.timeout_s, stop)


def connect(
    bundle: "Bundle", peers: Mapping[str, str], timeout_s: float, listen: str
) -> Deployment:
    """See `Bundle.connect`."""
    for source in dict.fromkeys(_source_of(bundle).values()):
        if source not in peers:
            raise UsageError(f"the address of the source node {source} is missing")
        parse_address(peers[source])
    _check_timeout(timeout_s)
    requests = Requests(bundle.graph.outputs)
    with ExitStack() as stop:
        listeners = _listen(bundle, listen, stop)
        return _deployment(bundle, requests, (), listeners, peers, timeout_s, stop)


def _source_of(bundle: "Bundle") -> dict[str, str]:
    """Device on which each input appears."""
    return {name: bundle.topology.source_of(name) for name in bundle.graph.inputs}


def _listen(bundle: "Bundle", address: str, stop: ExitStack) -> dict[str, socket.socket]:
    """Where each sink delivers: the first at ``address``, the others at the ports after it."""
    sinks = host_ports(bundle.graph, bundle.topology)
    host, port = parse_address(address)
    shown = f"[{host}]" if ":" in host else host
    return {
        sink: stop.enter_context(listen_at(f"{shown}:{port + after if port else 0}"))
        for sink, after in sinks.items()
    }


def _deployment(
    bundle: "Bundle",
    requests: Requests,
    nodes: Sequence[NodeProcess],
    listeners: Mapping[str, socket.socket],
    addresses: Mapping[str, str],
    timeout_s: float,
    stop: ExitStack,
) -> Deployment:
    """The deployment once it is ready; it then owns what is in ``stop``."""
    deadline_s = monotonic() + timeout_s
    identity = bytes.fromhex(bundle.manifest.bundle_id)
    collectors: dict[str, Collector] = {}
    for sink, listener in listeners.items():
        outputs = {
            bundle.wire[name]: bundle.graph.tensors[name]
            for name in bundle.graph.outputs
            if bundle.topology.sink_of(name) == sink
        }
        from_sink = Hello(identity, sink, HOST)
        collectors[sink] = Collector(listener, from_sink, outputs, requests, deadline_s)
        stop.callback(collectors[sink].stop)
    source_of = _source_of(bundle)
    feeders: dict[str, Feeder] = {}
    for source in dict.fromkeys(source_of.values()):
        to_source = Hello(identity, HOST, source)
        feeders[source] = Feeder(addresses[source], to_source, requests, deadline_s)
        stop.callback(feeders[source].stop)
    parts = Parts(requests, nodes, feeders, collectors, source_of, stop.pop_all())
    in_flight = bundle.manifest.slots * len(bundle.manifest.nodes)
    deployment = Deployment(bundle.graph, parts, in_flight=in_flight, timeout_s=timeout_s)
    try:
        deployment.wait_until_ready(deadline_s)
    except BaseException:
        deployment.abort()
        raise
    return deployment


def _command(bundle: "Bundle", device: str, options: LaunchOptions) -> list[str]:
    folder = bundle.path / "nodes" / device
    words = command(folder / "node", bundle.manifest.nodes[device].processor)
    words += ["--weights", str(folder / "weights.bin"), "--peers", "-", "--listen", "127.0.0.1:0"]
    words += ["--timeout", f"{options.timeout_s:.3f}"]
    if options.threads is not None:
        words += ["--threads", str(options.threads)]
    if options.trace_dir is not None:
        words += ["--trace", str(_folder(options.trace_dir) / trace_name(device))]
    if options.record_dir is not None:
        words += ["--record", str(_folder(options.record_dir / device))]
    return words


def _folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {path}: {error.strerror}") from error
    return path


def _check(options: LaunchOptions) -> None:
    _check_timeout(options.timeout_s)
    if options.threads is not None and not 1 <= options.threads <= _THREADS_MAX:
        raise UsageError(f"threads is {options.threads}; give a number from 1 to {_THREADS_MAX}")


def _check_timeout(timeout_s: float) -> None:
    if not 0.001 <= timeout_s <= _TIMEOUT_MAX_S:
        raise UsageError(f"timeout_s is {timeout_s}; give seconds from 0.001 to {_TIMEOUT_MAX_S}")

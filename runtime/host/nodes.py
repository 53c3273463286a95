"""Node processes on this machine: started, told their peers, watched, stopped."""

import contextlib
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from time import monotonic

from splitter.errors import BundleError, DeploymentError

_LINES_KEPT = 20
_LINE_BYTES = 2000
_KILL_S = 10.0
_CASCADE_S = 0.5
"""How long nodes may take to notice that another one has failed."""
_PEER_LOST = 4
"""Exit code of a node that ends because another did; see docs/wire.md."""


class NodeProcess:
    """One running node. What it prints is collected by a thread of its own.

    A node needs no help to end when this program is killed: its standard input or its connection
    closes, and it exits; the other nodes follow.
    """

    def __init__(self, device: str, command: Sequence[str], changed: Callable[[], None]) -> None:
        """Start it; ``changed`` is called, in another thread, whenever it has said something.

        Raises:
            BundleError: the program cannot be started.
        """
        self.device = device
        self.address: str | None = None
        """Where it listens, once it has said so."""
        self.ready = False
        self.exited_s: float | None = None
        self.killed = False
        """Whether `kill` ended it."""
        self._changed = changed
        self._lines: deque[str] = deque(maxlen=_LINES_KEPT)
        self._process = _start(device, command)
        self._thread = threading.Thread(target=self._watch, name=f"watch {device}", daemon=True)
        self._thread.start()

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative when a signal ended it."""
        return None if self.exited_s is None else self._process.returncode

    @property
    def messages(self) -> tuple[str, ...]:
        """The last lines that it printed, apart from ``listening`` and ``ready``."""
        return tuple(self._lines)

    def tell_peers(self, peers: Mapping[str, str]) -> None:
        """Write its peers file; a node that has ended already is found out by its exit code."""
        lines = ["[peers]", *(f'"{name}" = "{address}"' for name, address in peers.items())]
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.write("".join(f"{line}\n" for line in lines).encode())
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.close()

    def kill(self) -> None:
        """End it, however it feels about that."""
        if self.exited_s is None:
            self.killed = True
            self._process.kill()

    def wait(self, deadline_s: float) -> None:
        """Wait, until the deadline at most, until it has ended and all it said is read."""
        self._thread.join(max(0.0, deadline_s - monotonic()))

    def story(self) -> str:
        """How it ended, in words, with its own last message."""
        code = self.exit_code
        if code is None:
            return f"node {self.device} runs"
        how = (
            f"was killed by {signal.Signals(-code).name}"
            if code < 0
            else f"ended with exit code {code}"
        )
        said = self._lines[-1] if self._lines else "it said nothing"
        return f"node {self.device} {how}: {said}"

    def _watch(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            while line := output.readline(_LINE_BYTES):
                self._note(line.decode(errors="replace").rstrip())
                self._changed()
        self._process.wait()
        self.exited_s = monotonic()
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        self._changed()

    def _note(self, line: str) -> None:
        if self.address is None and line.startswith("listening "):
            self.address = line.removeprefix("listening ")
        elif line == "ready":
            self.ready = True
        elif line:
            self._lines.append(line)


def _start(device: str, command: Sequence[str]) -> "subprocess.Popen[bytes]":
    try:
        # A process group of its own: Ctrl-C reaches this program alone, which then stops the nodes.
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
    except PermissionError as error:
        raise BundleError(
            f"{error.filename} cannot be executed; make it executable with chmod +x"
        ) from error
    except OSError as error:
        raise BundleError(
            f"node {device} cannot be started: {error.filename}: {error.strerror}; "
            "compile the model again"
        ) from error


def await_addresses(
    nodes: Sequence[NodeProcess], changed: threading.Condition, deadline_s: float
) -> dict[str, str]:
    """Where every node listens; ``changed`` is notified when one has said so.

    Raises:
        DeploymentError: a node has ended, or is silent until the deadline.
    """
    with changed:
        while silent := [node for node in nodes if node.address is None]:
            ended = [node for node in silent if node.exit_code is not None]
            if ended:
                raise DeploymentError(ended[0].story())
            left_s = deadline_s - monotonic()
            if left_s <= 0:
                raise DeploymentError(f"node {silent[0].device} does not start listening in time")
            changed.wait(left_s)
    return {node.device: node.address for node in nodes if node.address is not None}


def culprit(nodes: Sequence[NodeProcess], *, ending: bool) -> NodeProcess | None:
    """The node that failed first, if any has; those that only lost a peer come after all others.

    Args:
        nodes: All nodes of the deployment.
        ending: Whether BYE was said; before that, a node that ends well has been told to by
            somebody else.
    """
    failed = [n for n in nodes if n.exit_code is not None and not n.killed]
    if ending:
        failed = [n for n in failed if n.exit_code]
    return min(failed, key=lambda n: (_suspicion(n), n.exited_s or 0.0), default=None)


def _suspicion(node: NodeProcess) -> int:
    return {_PEER_LOST: 2, 0: 1}.get(node.exit_code or 0, 0)


def await_culprit(
    nodes: Sequence[NodeProcess], changed: threading.Condition, *, ending: bool
) -> NodeProcess | None:
    """The node that failed first, once it is clear: when one goes, others soon lose a peer."""
    deadline_s = monotonic() + _CASCADE_S
    with changed:
        while True:
            found = culprit(nodes, ending=ending)
            clear = found is not None and _suspicion(found) == 0
            left_s = deadline_s - monotonic()
            if clear or left_s <= 0 or all(n.exit_code is not None for n in nodes):
                return found
            changed.wait(left_s)


def end_all(nodes: Sequence[NodeProcess]) -> None:
    """Kill every node that still runs, and wait until all are gone."""
    for node in nodes:
        node.kill()
    for node in nodes:
        node.wait(monotonic() + _KILL_S)

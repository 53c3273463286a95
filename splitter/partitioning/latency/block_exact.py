"""What one placement of one block takes exactly, queues on links included.

Only where a block is *clean*: its layers hang on the fork, read nothing from before it, and nothing
of theirs is read after the block's last layer. Then devices and links are idle when the fork ends,
and what `splitter.timing` says of the block alone is what happens in every request.
"""

from collections.abc import Mapping

from splitter.partitioning.latency.blocks import START, Block
from splitter.partitioning.problem import Problem
from splitter.partitioning.simulate import route_tree
from splitter.timing import Hop, Place, run_request


class ExactBlock:
    """Simulates placements of one block."""

    def __init__(self, problem: Problem, block: Block) -> None:
        self.problem, self.block = problem, block
        # The first block's inputs come into being by themselves, a later block's in the fork.
        if block.fork == START:
            self.brought = [w for w, wire in enumerate(problem.wires) if wire.is_input]
        else:
            self.brought = list(problem.makes[block.fork])
        self.is_clean = self._is_clean()

    def _is_clean(self) -> bool:
        problem, block = self.problem, self.block
        inside = set(block.layers)
        made = [w for layer in block.layers[:-1] for w in problem.makes[layer]]
        return (
            not block.is_last
            and all(block.anchored)
            and all(
                set(problem.reads[layer]) == set(reads)
                for layer, reads in zip(block.layers, block.reads, strict=True)
            )
            and all(set(problem.wires[w].readers) <= inside for w in (*self.brought, *made))
            and not any(problem.wires[w].is_output for w in (*self.brought, *made))
            and all(problem.wires[w].readers for w in made)
        )

    def seconds(self, fork: int, devices: Mapping[int, int]) -> float:
        """From the fork's end to the last layer's, by the device of each layer.

        Infinite when two devices that must talk are not connected.
        """
        problem, layers = self.problem, self.block.layers
        run = run_request(
            [devices[layer] for layer in layers],
            [problem.compute[layer][devices[layer]] for layer in layers],
            [problem.reads[layer] for layer in layers],
            [problem.makes[layer] for layer in layers],
            [(w, self._home(w, fork, devices)) for w in self.brought],
            self._hops(fork, devices),
        )
        return run.finish_s[-1]

    def _home(self, w: int, fork: int, devices: Mapping[int, int]) -> int:
        wire = self.problem.wires[w]
        if wire.is_input:
            return wire.source
        return fork if wire.producer == self.block.fork else devices[wire.producer]

    def _hops(self, fork: int, devices: Mapping[int, int]) -> dict[Place, list[Hop]]:
        problem = self.problem
        found: dict[Place, list[Hop]] = {}
        made = [w for layer in self.block.layers[:-1] for w in problem.makes[layer]]
        for w in (*self.brought, *made):
            home = self._home(w, fork, devices)
            targets = dict.fromkeys(devices[reader] for reader in problem.wires[w].readers)
            targets.pop(home, None)
            for link in route_tree(problem, w, home, targets):
                start = problem.link_ends[link][0]
                hop = problem.link_hop(link, problem.wires[w].bytes)
                found.setdefault((w, start), []).append(hop)
        return found

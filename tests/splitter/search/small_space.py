"""A space in a dozen lines, as a user writes one, for 16x16 digits."""

from torch import nn

from splitter.search.space.network import Family
from splitter.search.space.space import Slot, Space, Stage


def tiny() -> Family:
    kernels = ("1", "3")
    deep = Stage("deep", (Slot("d1", kernels), Slot("d2", kernels)), least=1)
    space = Space("tiny", (Stage("wide", (Slot("w", (8, 12)),)), deep))

    def block(slot: int, choice: object, inputs: int) -> tuple[nn.Module, int]:
        if slot == 0:
            width = int(str(choice))
            return nn.Sequential(nn.Conv2d(inputs, width, 3, 2, 1), nn.ReLU()), width
        kernel = int(str(choice))
        conv = nn.Conv2d(inputs, inputs, kernel, 1, kernel // 2, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(inputs), nn.ReLU()), inputs

    return Family(
        space=space,
        input_shape=(1, 16, 16),
        stem=lambda: (nn.Conv2d(1, 8, 3, 2, 1), 8),
        block=block,
        head=lambda width: nn.Sequential(nn.Flatten(), nn.Linear(width * 16, 10)),
    )

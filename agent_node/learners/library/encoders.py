"""Encoders of what is observed: convolutions over the cells of a grid (Campero et al., arXiv 2006.12122), and over images `[height, width,
channels]`: those of Mnih et al., Nature 518 (2015), and the residual blocks of Espeholt et al., arXiv 1802.01561.

A cell's codes are looked up in three small tables of learnt vectors: object (11 x 5), colour (6 x 3), state (4 x 2); 10 channels in all.
What is carried is looked up in the tables of objects and colours. Inputs are features of
`agent_node.session.observation_features.Features`: for grids the codes over `LARGEST_CODE`, for images the pixels over 255, and behind
them, maybe, a goal.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from agent_node.session.observation_features import LARGEST_CODE
from protocols.spaces.grid_space import AGENT, CHANNELS, COLOURS, OBJECTS, STATES, GridPart

CELL = 10
"""channels of an embedded cell"""
CARRIED = 8
"""numbers of an embedded item that is carried"""
_STRIDES = (COLOURS * STATES, STATES, 1)


def orthogonal(layer: nn.Conv2d | nn.Linear, gain: float, generator: torch.Generator) -> nn.Module:
    """The layer with orthogonal weights and biases of zero."""
    nn.init.orthogonal_(layer.weight, gain, generator)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def uniform(layer: nn.Conv2d | nn.Linear | nn.RNNCellBase, inputs: int, generator: torch.Generator) -> nn.Module:
    """The layer with all parameters uniform in +-1/sqrt(inputs), as torch begins, but from a generator."""
    for parameter in layer.parameters():
        with torch.no_grad():
            parameter.uniform_(-(inputs**-0.5), inputs**-0.5, generator=generator)
    return layer


class LinearTrunk(nn.Module):
    """Linear layers with ReLU, weights orthogonal with gain sqrt(2): `[n, inputs] -> [n, hidden[-1]]`."""

    def __init__(self, inputs: int, hidden: Sequence[int], generator: torch.Generator) -> None:
        super().__init__()
        self.layers = nn.ModuleList(orthogonal(nn.Linear(*sizes), 2**0.5, generator) for sizes in pairwise((inputs, *hidden)))
        self.outputs = hidden[-1]

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """From inputs `[..., F + goal]` to the activations of the last hidden layer (ReLU), `[..., hidden[-1]]`."""
        for layer in self.layers:
            inputs = functional.relu(layer(inputs))
        return inputs


class CellEmbedding(nn.Module):
    """Tables of objects, colours and states, drawn from N(0, 1), for one grid of an observation."""

    def __init__(self, part: GridPart, generator: torch.Generator) -> None:
        super().__init__()
        self.part = part
        self.objects = nn.Parameter(torch.randn(OBJECTS, 5, generator=generator))
        self.colours = nn.Parameter(torch.randn(COLOURS, 3, generator=generator))
        self.states = nn.Parameter(torch.randn(STATES, 2, generator=generator))

    def codes(self, inputs: torch.Tensor) -> torch.Tensor:
        """Features `[n, >= D]` back to codes of the grid and what is carried, `[n, 3 W H + 2]`, int64."""
        return (inputs[:, self.part.start : self.part.stop] * LARGEST_CODE).round_().long()

    def cells(self, codes: torch.Tensor) -> torch.Tensor:
        """`[n, W, H, 10]`. All combinations of codes make one table, so that each cell needs one look-up instead of three."""
        whole = (OBJECTS, COLOURS, STATES)
        table = torch.cat(
            [
                self.objects[:, None, None].expand(*whole, -1),
                self.colours[None, :, None].expand(*whole, -1),
                self.states[None, None].expand(*whole, -1),
            ],
            dim=3,
        ).flatten(0, 2)
        kinds = codes[:, : self.part.width * self.part.height * CHANNELS].view(len(codes), self.part.width, self.part.height, CHANNELS)
        index = kinds[..., 0] * _STRIDES[0]
        index += kinds[..., 1] * _STRIDES[1]
        index += kinds[..., 2]
        return functional.embedding(index, table)

    def carried(self, codes: torch.Tensor) -> torch.Tensor:
        """`[n, 8]`: object and colour of what is carried."""
        return torch.cat([functional.embedding(codes[:, -2], self.objects), functional.embedding(codes[:, -1], self.colours)], dim=1)

    def own_cell(self, codes: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
        """`[n, 10]`: the embedded cell of the agent, the one with its own code (others have another colour); without such a cell, the
        middle of the lowest row, from where it looks in its egocentric view."""
        width, height = self.part.width, self.part.height
        there = (codes[:, :-2:CHANNELS] == AGENT) & (codes[:, 1:-2:CHANNELS] == 0)
        place = torch.where(there.any(dim=1), there.int().argmax(dim=1), (width // 2) * height + height - 1)
        return cells.flatten(1, 2)[torch.arange(len(codes), device=codes.device), place]


class GridConvolutions(nn.Module):
    """Five convolutions 3 x 3 of 32 channels, each of which halves both sides, with ELU: `[n, W, H, channels] -> [n, outputs]`.

    Where one cell is left, only the middle of a kernel meets it: the convolution is a matrix product, and computed so."""

    LAYERS, WIDTH = 5, 32

    def __init__(self, part: GridPart, channels: int, generator: torch.Generator) -> None:
        super().__init__()
        sizes = [channels] + [self.WIDTH] * self.LAYERS
        self.convolutions = nn.ModuleList(
            orthogonal(nn.Conv2d(inputs, self.WIDTH, 3, stride=2, padding=1), 2**0.5, generator) for inputs in sizes[:-1]
        )
        width, height = part.width, part.height
        for _ in range(self.LAYERS):
            width, height = (width + 1) // 2, (height + 1) // 2
        self.outputs = self.WIDTH * width * height

    def forward(self, cells: torch.Tensor) -> torch.Tensor:
        """From embedded cells `[n, width, height, channels]` to the flattened output of the last convolution (ELU after each), `[n,
        outputs]`."""
        values = cells.permute(0, 3, 1, 2)
        for convolution in cast(Sequence[nn.Conv2d], self.convolutions):
            if values.shape[2:] == (1, 1):
                values = functional.linear(values.flatten(1), convolution.weight[:, :, 1, 1], convolution.bias)[:, :, None, None]
            else:
                values = convolution(values)
            values = functional.elu(values, inplace=True)
        return values.flatten(1)


class GridEncoder(nn.Module):
    """From features, and behind them the one-hot plane of a goal if there is one, `[n, F + goal]`, to `[n, outputs]`.

    Embedded cells, with the goal's plane as an eleventh channel -> `GridConvolutions`, beside what is carried. A goal that is a cell of
    another grid than the one seen (the policy sees a part of it) is not a channel, but 32 numbers of a linear layer of the plane. Weights
    are orthogonal with gain sqrt(2).
    """

    BESIDE = 32

    def __init__(self, part: GridPart, features: int, goal: int, generator: torch.Generator) -> None:
        super().__init__()
        self.inputs = features + goal
        self.goal = goal
        self.channel = goal == part.width * part.height
        self.embedding = CellEmbedding(part, generator)
        self.shrinking = GridConvolutions(part, CELL + self.channel, generator)
        self.outputs = self.shrinking.outputs + CARRIED
        self.beside: nn.Module | None = None
        if goal and not self.channel:
            self.beside = orthogonal(nn.Linear(goal, self.BESIDE), 2**0.5, generator)
            self.outputs += self.BESIDE

    def split(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features with the goal, `[n, F + goal]`, and what stands behind them."""
        return inputs[:, : self.inputs], inputs[:, self.inputs :]

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """From features with the goal behind them, `[n, F + goal]`, to `[n, outputs]`."""
        codes = self.embedding.codes(inputs)
        cells = self.embedding.cells(codes)
        goal = inputs[:, inputs.shape[1] - self.goal :]
        if self.channel:
            cells = torch.cat([cells, goal.view(*cells.shape[:3], 1)], dim=3)
        parts = [self.shrinking(cells), self.embedding.carried(codes)]
        if self.beside is not None:
            parts.append(functional.relu(self.beside(goal)))
        return torch.cat(parts, dim=1)


class ImageConvolutions(nn.Module):
    """Three convolutions with ReLU (Mnih et al., Nature 2015), kernel / stride channels: 8 / 4 32, 4 / 2 64, 3 / 1 64, flattened: `[n, C,
    H, W] -> [n, outputs]`. Weights are orthogonal with gain sqrt(2)."""

    LAYERS = ((32, 8, 4), (64, 4, 2), (64, 3, 1))

    def __init__(self, image: tuple[int, int, int], generator: torch.Generator) -> None:
        super().__init__()
        height, width, channels = image
        self.convolutions = nn.ModuleList()
        for outputs, kernel, stride in self.LAYERS:
            self.convolutions.append(orthogonal(nn.Conv2d(channels, outputs, kernel, stride), 2**0.5, generator))
            height, width, channels = (height - kernel) // stride + 1, (width - kernel) // stride + 1, outputs
        self.outputs = height * width * channels

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """From pixels in [0, 1], `[n, C, H, W]`, to `[n, outputs]`."""
        for convolution in self.convolutions:
            pixels = functional.relu(convolution(pixels), inplace=True)
        return pixels.flatten(1)


class ResidualConvolutions(nn.Module):
    """Three sections of 16, 32 and 32 channels (Espeholt et al., arXiv 1802.01561), each a convolution, a pooling that halves both sides,
    and two residual blocks x + conv(relu(conv(relu(x)))), kernels 3 x 3; then ReLU, flattened: `[n, C, H, W] -> [n, outputs]`. Parameters
    are uniform in +-1/sqrt(inputs)."""

    SECTIONS = (16, 32, 32)

    def __init__(self, image: tuple[int, int, int], generator: torch.Generator) -> None:
        super().__init__()
        height, width, channels = image
        self.entries, self.blocks = nn.ModuleList(), nn.ModuleList()
        for outputs in self.SECTIONS:
            sizes = [channels, *[outputs] * 5]
            made = [uniform(nn.Conv2d(inputs, outputs, 3, padding=1), 9 * inputs, generator) for inputs in sizes[:-1]]
            self.entries.append(made[0])
            self.blocks.append(nn.ModuleList(made[1:]))
            height, width, channels = (height + 1) // 2, (width + 1) // 2, outputs
        self.outputs = height * width * channels

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """From pixels in [0, 1], `[n, C, H, W]`, to `[n, outputs]`."""
        for entry, block in zip(self.entries, self.blocks, strict=True):
            pixels = functional.max_pool2d(entry(pixels), 3, stride=2, padding=1)
            layers = list(cast(nn.ModuleList, block))
            for first, second in zip(layers[::2], layers[1::2], strict=True):
                pixels = pixels + second(functional.relu(first(functional.relu(pixels))))
        return functional.relu(pixels).flatten(1)


class ImageEncoder(nn.Module):
    """From the pixels of an image, in the order height, width, channels, `[n, H W C]`, to `[n, outputs]`."""

    def __init__(self, network: Literal["cnn", "impala_cnn"], image: tuple[int, int, int], generator: torch.Generator) -> None:
        super().__init__()
        self.image = image
        kind = ImageConvolutions if network == "cnn" else ResidualConvolutions
        self.convolutions = kind(image, generator)
        self.outputs = self.convolutions.outputs

    def split(self, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pixels `[n, H W C]`, and what stands behind them."""
        size = int(np.prod(self.image))
        return inputs[:, :size], inputs[:, size:]

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Outputs of the convolutions, `[n, outputs]`."""
        values: torch.Tensor = self.convolutions(pixels.reshape(-1, *self.image).permute(0, 3, 1, 2))
        return values


class TeacherNetwork(nn.Module):
    """A number for every cell, and a value: codes `[n, 3 W H]`, int64, to logits `[n, W H]`, g = x H + y, and `[n]`.

    Embedded cells -> four convolutions 3 x 3 that keep the size (10, 16, 16, 16, 1 channels), ELU after each, also the last, so that no
    logit is below -1 -> value: linear in the logits. `transposed`: the cells are read in the other order (y W + x), as published.
    """

    def __init__(self, part: GridPart, generator: torch.Generator, transposed: bool = False) -> None:
        super().__init__()
        self.transposed = transposed
        self.embedding = CellEmbedding(part, generator)
        sizes = (CELL, 16, 16, 16, 1)
        self.convolutions = nn.ModuleList(
            uniform(nn.Conv2d(inputs, outputs, 3, padding=1), 9 * inputs, generator) for inputs, outputs in pairwise(sizes)
        )
        self.value = orthogonal(nn.Linear(part.width * part.height, 1), 1.0, generator)

    def forward(self, codes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """From the codes of n grids to the logits of all cells `[n, width * height]` and the values `[n]`."""
        values = self.embedding.cells(codes).permute(0, 3, 1, 2)
        for convolution in self.convolutions:
            values = functional.elu(convolution(values), inplace=True)
        logits = (values.transpose(2, 3) if self.transposed else values).flatten(1)
        return logits, self.value(logits).squeeze(1)

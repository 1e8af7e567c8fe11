"""One episode of a run's agents as an animated picture: `python -m orchestrator.page.episode_film RUN AGENT FILE.gif`.

The episode is played from the newest checkpoints, as `orchestrate test --video` plays it: likeliest actions, goals given. Its beginning
follows from the seed of the run, so that films of later checkpoints can be compared.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.runtime.errors import MurmurationError

MOST_PICTURES = 200
"""pictures of a film; of a longer episode every second, fourth, ... step"""
LONGEST_SIDE = 320
"""pixels"""
RATE = 10
"""pictures a second"""


class _Pictures:
    """Pictures of an episode of any length, at most `MOST_PICTURES`."""

    def __init__(self) -> None:
        self.kept: list[Any] = []
        self.every = 1
        """steps from one picture to the next"""
        self._steps = 0

    def add(self, picture: NDArray[np.uint8]) -> None:
        """The picture `[height, width, 3]` of the next step."""
        from PIL import Image

        if self._steps % self.every == 0:
            image = Image.fromarray(np.ascontiguousarray(picture[..., :3]))
            image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
            self.kept.append(image.quantize(128))
        self._steps += 1
        if len(self.kept) > MOST_PICTURES:
            del self.kept[1::2]
            self.every *= 2


def film(directory: Path, agent: str, out: Path) -> dict[str, Any]:
    """Write the film; what is known of the episode. `MurmurationError` where the agents have no checkpoints, or the environment no
    pictures."""
    from orchestrator.results.playback import checkpoint_sources
    from orchestrator.results.playback.checkpoint_episodes import CheckpointPlayback

    playback = CheckpointPlayback(checkpoint_sources.find(directory.parent, str(directory), agent), True, None, True)
    pictures = _Pictures()
    (episode,) = playback.play(1, pictures.add)
    first, *others = pictures.kept
    first.save(out, save_all=True, append_images=others, duration=round(1000 / RATE), loop=0)
    return {
        "checkpoint": int(playback.checkpoints[agent].stem),
        "members": list(episode.members),
        "return": episode.reward,
        "success": episode.success,
        "length": episode.length,
        "goal": episode.goal or None,
        "pictures": len(pictures.kept),
        "every": pictures.every,
    }


if __name__ == "__main__":
    try:
        facts = film(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
    except MurmurationError as error:
        sys.exit(str(error))
    sys.stdout.write(json.dumps(facts) + "\n")

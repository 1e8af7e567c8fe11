"""Layouts of several agents as one frame."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.runtime.errors import BadMessage
from protocols.spaces.layout import Layout, decode_layouts, encode_layouts

LAYOUTS = [Layout(shape=[4], actions=[3]), Layout(shape=[2], low=[-1.0], high=[1.0])]


def test_layouts_return_by_the_names_of_the_members() -> None:
    frame = encode_layouts(LAYOUTS)
    assert decode_layouts({"layouts": frame}, ["a", "b"]) == {"a": LAYOUTS[0], "b": LAYOUTS[1]}
    assert decode_layouts({}, ["a", "b"]) == {}


@pytest.mark.parametrize("frame", [encode_layouts(LAYOUTS[:1]), np.zeros(3, np.uint8), encode_layouts(LAYOUTS).astype(np.int32)])
def test_a_frame_that_is_not_one_layout_for_each_member_is_refused(frame: np.ndarray) -> None:
    with pytest.raises(BadMessage):
        decode_layouts({"layouts": frame}, ["a", "b"])

"""Intrinsic reward: BeBold and NovelD."""

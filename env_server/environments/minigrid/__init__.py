"""MiniGrid's environments, K copies stepped at once, as bytes of grids."""

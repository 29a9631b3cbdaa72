"""Names of points in a figure that lie over nothing."""

SIDES = ((8, 4, "left"), (8, -14, "left"), (-8, 4, "right"), (-8, -14, "right"))  # points from a place, and alignment
SIDES += tuple((x, y, "center") for y in (14, -24, 28, -38, 42, -52) for x in (0, 40))


def spread(figure, axes):
    """The figure, each name where it lies over no named place and no name before it, if one of SIDES is free."""
    figure.draw_without_rendering()
    places, taken = axes.transData.transform([text.xy for text in axes.texts]), []
    for text in axes.texts:
        for x, y, side in SIDES:
            text.set(position=(x, y), horizontalalignment=side)
            box = text.get_window_extent()
            over = any(box.overlaps(other) for other in taken) or any(box.padded(6).contains(*at) for at in places)
            if not over:
                break
        taken.append(box)
    return figure

"""Files of a person's own machine, chosen in a window."""


def upload():
    """Say that files were asked for; nobody chooses one."""
    print("stand-in: files.upload()")
    return {}

"""Google Drive, which a person has to allow in a window."""


def mount(mountpoint):
    """Say that the user's Drive was asked for."""
    print(f"stand-in: drive.mount({mountpoint!r})")

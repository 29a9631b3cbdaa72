"""What a user can put right. Needs nothing but a Python, even an old one."""


class UserError(Exception):
    """A sentence for the person at the keyboard, shown without a traceback; `code` is the exit status."""

    def __init__(self, message: str, code: int = 2):
        super().__init__(message)
        self.code = code

"""The error of data that cannot be had."""


class DataError(RuntimeError):
    """A data set or image that cannot be had, read or trusted: one line saying what is wrong, one saying what to do.

    Attributes:
        message: what is wrong, naming the file or address.
        hint: what to do about it.
    """

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(f"{message}\n  hint: {hint}")
        self.message = message
        self.hint = hint

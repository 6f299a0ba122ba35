"""The one exception for mistakes a user can fix: commands print its text and exit with status 2."""


class UserError(ValueError):
    """Bad input. The message says what was found, where, what was expected, and how to fix it."""

"""Format durations."""


def duration(seconds: float) -> str:
    """Format a duration by its two largest units.

    Example:
        >>> duration(45065), duration(250), duration(7.94)
        ('12 h 31 min', '4 min 10 s', '7.9 s')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    rounded = round(seconds)
    if rounded < 3600:
        return f"{rounded // 60} min {rounded % 60} s"
    if rounded < 86400:
        return f"{rounded // 3600} h {rounded % 3600 // 60} min"
    return f"{rounded // 86400} d {rounded % 86400 // 3600} h"

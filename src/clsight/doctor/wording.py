"""How numbers are written in findings."""


def percent(share: float, digits: int = 0) -> str:
    """Return a share in percent, with a space before the sign.

    Example:
        >>> percent(0.126), percent(0.006, 1)
        ('13 %', '0.6 %')
    """
    return f"{100 * share:.{digits}f} %"

"""Amounts as people read them: currency, shares, days, with a true minus sign."""


def money(cents: int, *, signed: bool = False) -> str:
    """Cents as currency.

    Examples
    --------
    >>> money(-140000, signed=True), money(2000000)
    ('−1,400.00', '20,000.00')
    """
    sign = "−" if cents < 0 else "+" if signed and cents > 0 else ""
    whole, rest = divmod(abs(cents), 100)
    return f"{sign}{whole:,}.{rest:02d}"


def amount(cents: int, currency: str, language: str) -> str:
    """An amount as a customer reads it.

    Parameters
    ----------
    cents : int
    currency : str
        Code (ISO 4217); empty where it is not known.
    language : {"en", "zh"}

    Examples
    --------
    >>> amount(2000000, "CNY", "en"), amount(2000000, "CNY", "zh"), amount(2000000, "USD", "zh"), amount(100, "", "zh")
    ('CNY 20,000.00', '20,000.00元', 'USD 20,000.00', '1.00')
    """
    if not currency:
        return money(cents)
    if (language, currency) == ("zh", "CNY"):
        return f"{money(cents)}元"
    return f"{currency} {money(cents)}"


def value(number: float | None, unit: str) -> str:
    """A feature's value: cents as currency, shares of the limit as percent.

    Examples
    --------
    >>> value(123456.0, "cents"), value(0.5, "share of the limit"), value(None, "days"), value(7.0, "count")
    ('1,234.56', '50%', 'none', '7')
    """
    if number is None:
        return "none"
    if unit == "cents":
        return money(round(number))
    if unit == "share of the limit":
        return f"{number:.0%}".replace("-", "−")
    return f"{number:,.2f}".rstrip("0").rstrip(".").replace("-", "−")


def with_sign(number: float, digits: int = 3) -> str:
    """A number with its sign, such as a contribution to the log-odds of default.

    Examples
    --------
    >>> with_sign(-0.25), with_sign(0.3, 2)
    ('−0.250', '+0.30')
    """
    return f"{number:+.{digits}f}".replace("-", "−")

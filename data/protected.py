"""Attributes that are no features by themselves, told by their names: protected ones, and places."""

import re

#: Words in the name of an attribute that is kept apart in ``protected.parquet``: for fairness tests, never a feature
#: unless named. After ECOA (12 CFR 1002.6) and art. 21 of the EU Charter; one caught by mistake is switched on by name.
PROTECTED_WORDS: frozenset[str] = frozenset(
    {
        *("age", "agegroup", "ageband", "birth", "birthdate", "birthday", "birthyear", "born", "dateofbirth", "dob"),
        *("sex", "sexual", "gender", "female", "male", "orientation", "pregnancy", "pregnant", "maternity"),
        *("marital", "marriage", "married", "spouse", "divorced", "family", "fam", "children", "child"),
        *("race", "racial", "ethnic", "ethnicity", "nationality", "citizen", "citizenship", "immigrant", "colour"),
        *("religion", "religious", "disability", "disabled", "genetic", "political", "union"),
    }
)

#: Whose age is nobody's: beside such a word ``age`` is kept.
THINGS: frozenset[str] = frozenset(
    {"account", "line", "loan", "card", "car", "vehicle", "device", "phone", "business", "company", "house", "building"}
)

#: The same in Chinese, where words are not parted.
PROTECTED_PARTS: tuple[str, ...] = (
    *("性别", "年龄", "出生", "生日", "民族", "种族", "婚姻", "婚否", "配偶", "子女", "宗教", "国籍", "残疾", "怀孕"),
)

#: Words in the name of an attribute that says where somebody lives or is: it stands for who lives there.
PLACE_WORDS: frozenset[str] = frozenset(
    {
        *("city", "town", "village", "zip", "zipcode", "postcode", "postal", "postalcode", "address", "street"),
        *("district", "county", "province", "region", "neighbourhood", "neighborhood", "geohash"),
        *("latitude", "longitude", "lat", "lon", "lng", "ip"),
    }
)

PLACE_PARTS: tuple[str, ...] = ("城市", "省份", "区县", "邮编", "邮政", "地址", "街道", "户籍", "籍贯", "经度", "纬度")


def is_protected(attribute: str) -> bool:
    """Whether an attribute is kept apart by its name: for fairness tests only.

    Examples
    --------
    >>> [is_protected(name) for name in ("CODE_GENDER", "DAYS_BIRTH", "clientAge", "客户年龄", "income", "device_age")]
    [True, True, True, True, False, False]
    """
    words = _words(attribute)
    named = words & PROTECTED_WORDS - ({"age"} if words & THINGS else set())
    return bool(named) or any(part in attribute for part in PROTECTED_PARTS)


def is_place(attribute: str) -> bool:
    """Whether an attribute says where somebody is, by its name.

    Examples
    --------
    >>> [is_place(name) for name in ("home_city", "ZipCode", "所在城市", "capacity")]
    [True, True, True, False]
    """
    return bool(_words(attribute) & PLACE_WORDS) or any(part in attribute for part in PLACE_PARTS)


def _words(name: str) -> set[str]:
    """Words of a name written in any of the usual ways."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return set(re.findall(r"[a-z]+", parted.lower())) | {name.lower()}

"""Names of persons as a reader takes them: one person spelled in two ways is one person."""

import re
import unicodedata

from limitlens.data.pseudonyms import LOOK_ALIKE

_LIKE = str.maketrans(*LOOK_ALIKE)

#: A run of letters and digits, or one Chinese character.
_PART = re.compile(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+")


def as_read(name: str) -> tuple[str, ...]:
    """The parts of a name without case, accents, punctuation, order, or letters of other alphabets that look alike.

    Parameters
    ----------
    name : str

    Returns
    -------
    tuple of str
        Equal for two spellings of one name; Unicode compatibility forms are folded as in UAX 15.

    Examples
    --------
    >>> as_read("Li Na") == as_read("NA,  lì") == as_read("Ｌｉ Ｎａ") == as_read("Li Nа")
    True
    >>> as_read("李娜") == as_read("李 娜")
    True
    >>> as_read("Li Na") == as_read("Li Nan")
    False
    """
    plain = unicodedata.normalize("NFKD", name)
    letters = "".join(one for one in plain if not unicodedata.combining(one)).translate(_LIKE)
    return tuple(sorted(_PART.findall(letters.casefold())))

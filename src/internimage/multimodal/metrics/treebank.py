"""Sentences to words as the evaluation of COCO's captions does: Penn Treebank's rules, in lower case, without stops.

The published tools run a Java program, of which this is no translation: the rules are the treebank's, with what that
program was seen to do.  On captions the two agree (795 of 795 of ``coco_mini``).  They are known to differ in telephone
numbers with brackets, web addresses without ``http`` and with signs in them, rare emoticons and rare entities of HTML,
``word!word``, ``US$5``, clock times written ``5a.m.``, and in whether a stop ends a sentence after a single letter
before words that seldom begin one.

Brackets stay, as ``-lrb-`` and the like, and so do ``!!`` and ``?!``: the published evaluation looks for ``-LRB-`` and
``!`` after everything was put in lower case.
"""

from __future__ import annotations

import re

_DROPPED = frozenset(("''", "'", "`", '"', ".", "?", "!", ",", ":", "-", "--", "---", "----", ";"))
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_OPENING = re.compile(r"‘|(?<!\w)’")  # a bent quote is never an apostrophe there
_WRITTEN = str.maketrans(
    {"’": "'", "“": '"', "”": '"', "–": " -- ", "—": " -- ", "…": " ... ", "€": "$", "£": "#", "¢": " cents "}
    | {"½": " 1/2 ", "¼": " 1/4 ", "¾": " 3/4 ", "\u00ad": ""}
)
_ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&apos;": "'", "&nbsp;": " "}
_ENTITY = re.compile("|".join(_ENTITIES))

# After these a stop belongs to the word; after the second, only before a number.
_ABBREVIATIONS = (
    "jan|feb|mar|apr|jun|jul|aug|sep|sept|oct|nov|dec|mon|tue|tues|wed|thu|thurs|fri|mr|mrs|"
    "ms|dr|prof|messrs|mme|mlle|sr|jr|gen|col|cmdr|cpl|lt|capt|maj|sgt|pvt|adm|gov|pres|rev|"
    "hon|rep|reps|sen|sens|supt|insp|st|ste|mt|ft|ave|blvd|rd|bldg|sq|co|corp|inc|ltd|bros|"
    "plc|cos|pty|assn|assoc|dept|univ|est|etc|vs|al|cf|seq|tel|ext|ala|ariz|calif|colo|conn|"
    "fla|ga|ind|kan|ky|md|mich|minn|mo|mont|neb|nev|okla|penn|tenn|va|vt|wis|wisc|wyo|esq|"
    "treas|asst|adj|atty|det|mfg|intl|natl"
)
_BEFORE_NUMBERS = "fig|figs|no|nos|pp|op|ca"
# Words that begin a sentence rather than a name, so that a letter before them ends one.
_BEGINNINGS = "A|An|The|He|She|It|They|We|There|This|That|These|Those|In|On|At|Two|Three|Some"

_END = r"(?![^\W_])"
_TOKEN = re.compile(
    "|".join(
        (
            r"https?://[^\s\"<>|(){}]+[\w/]",
            r"</?[a-z][^<>]*>|<!--.*?-->",
            r"[\w.+-]*\w@\w+(?:\.\w+)*",
            rf"[#@][a-z_]+{_END}|[#@][a-z]+",
            r"(?-i:[A-Z]+(?:&[A-Z]+)+)" + _END,
            rf"[:;=]'?-?[()]|[:;=]-?[dp|](?!\w)|(?-i::O){_END}",
            r"can(?=not\b)|gon(?=na\b)|got(?=ta\b)|wan(?=na\b)|gim(?=me\b)|lem(?=me\b)|y'(?=all\b)|'t(?=(?:is|was)\b)",
            rf"'n'|'(?:em|til|cause|n|s|m|d|re|ve|ll){_END}|'\d0s{_END}|'\d\d(?![\w'])",
            r"n't" + _END,
            r"ph\.d\.?",
            r"(?:[^\W\d_]\.)+[^\W\d_](?:\.(?:-\w+)?|(?![\w.]))",
            rf"(?:{_ABBREVIATIONS})\.(?:-\w+)?",
            rf"(?:{_BEFORE_NUMBERS})\.(?=\s?\d)",
            rf"[^\W\d_]\.(?![^\W\d_]|\s+(?-i:{_BEGINNINGS})\b)",
            r"(?:ma'am|c'mon|(?:[dlo]|qu)'[^\W\d_]{2,})" + _END,
            r"[^\W_]+?(?=n't" + _END + ")",
            r"[^\W\d_][^\W_]*(?:\.-?[^\W\d_][^\W_]*)+",
            r"[^\W\d_][^\W_]*\.(?=[,;:])",
            r"[-+]?(?:\d+(?:[.,:]\d+)+|(?<!\d)[.,:]\d+(?:[.,:]\d+)*)(?:-[^\W_]+)*",
            r"[-+]\d+" + _END,
            r"[^\W_]+(?:[-/_]+(?<!--)[^\W_]+)*",
            r"[!?]+|-+|\*+|_+|<+|>+",
            r"\S",
        )
    ),
    re.IGNORECASE,
)


def words(text: str) -> list[str]:
    """The words of a caption, as it is scored: split, in lower case, without punctuation.

    Newlines count as spaces.
    """
    text = _OPENING.sub("`", _ENTITY.sub(lambda found: _ENTITIES[found[0]], text)).translate(_WRITTEN)
    found = (_BRACKETS.get(token, token) for token in _TOKEN.findall(text))
    return [_bracketed(token).lower() for token in found if token not in _DROPPED]


def _bracketed(token: str) -> str:
    """Brackets within a token, as emoticons have them."""
    return token.replace("(", "-lrb-").replace(")", "-rrb-") if token[0] in ":;=" else token

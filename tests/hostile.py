"""Two hundred strings that want to be something else than text: to a shell, to sbatch, to a parser."""

from __future__ import annotations

from itertools import product

CANARY = "rrm-canary"
_DO = f"touch {CANARY}"
_OPENINGS = ("", "x", "'", '"', "\\", "`", "$(", "${", "\n", "\r\n", "\\'", "'\"", "\"'", ";", "#", "-", "--", "~", "!")
_DEEDS = (
    f"; {_DO};",
    f"$({_DO})",
    f"`{_DO}`",
    f"' ; {_DO} ; '",
    f'" ; {_DO} ; "',
    f"\n{_DO}\n",
    f"& {_DO} &",
    f"|| {_DO}",
)
_ODD = (
    " ", "  two  blanks  ", "\t", "*", "?", "[a-z]", "{a,b}", "~root", "$HOME", "${IFS}", "$'\\x41'", "!!", "%j", "%%",
    "a b", "a=b", "a,b", "a;b", "a|b", "a&b", "a<b", "a>b", "a(b)", "a#b", " #b", "#SBATCH --uid=0",
    "\n#SBATCH --uid=0", "--uid=0", "-D/", "é", "日本語", "\u202egnp", "\x00", "\x1b[31m", "\x1e", "\x1f", "\x7f",
    "a\\", "\\n", "$", "EOF\ntouch rrm-canary\nEOF", "x\x00; touch rrm-canary", "$(<token)", "=", ":", "..", "/",
    "\ud800",
)  # fmt: skip
HOSTILE = tuple(dict.fromkeys([*(f"{opening}{deed}" for opening, deed in product(_OPENINGS, _DEEDS)), *_ODD]))[:200]

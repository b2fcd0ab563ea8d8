"""Names of branches: which variable of which objects each of them spells, by rules that all experiments share."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

# How experiments spell each variable, in lower case; the first spelling is atlasae's name for it.
SPELLINGS = {
    "pt": ("pt",),
    "eta": ("eta",),
    "phi": ("phi",),
    "m": ("m", "mass", "mas"),
    "E": ("e", "energy", "en", "ene", "ener", "pe"),
    "px": ("px", "momentum.x", "mox"),
    "py": ("py", "momentum.y", "moy"),
    "pz": ("pz", "momentum.z", "moz"),
}
VARIABLE = {spelling: variable for variable, spellings in SPELLINGS.items() for spelling in spellings}
_TOKENS = "|".join(sorted((re.escape(s) for s in VARIABLE), key=len, reverse=True))
VARIABLE |= {"x": "px", "y": "py", "z": "pz", "t": "E"}  # of ROOT's vectors: fCoordinates.fX, fP.fX

_SEPARATOR = r"[._:/ ]+"
_CAMEL = "Pt|PT|pT|Eta|Phi|M|Mass|E|En|Ene|Energy|Px|Py|Pz|PX|PY|PZ"
_MEMBER = r"(?P<member>m_|(?-i:[fm](?=[A-Z]))|)"  # in front of the members of classes
_VARIATION = rf"(?P<variation>\d+|{_SEPARATOR}.+)"  # a systematic, a working point, the number of a jet
_GLUED = r"(?:.*[^A-Za-z])?(?:[a-z]*jets?|jt|j)\d*"  # what variables stand at without a separator
_STEM = r"(?P<stem>.*[^._:/ ])"
_SHORTEST = r"(?P<stem>.*?[^._:/ ])"
_VECTOR = r"^(?P<stem>(?:.*[^._:/ ])?)(?P<separator>[._:/ ]*)"
_APART = rf"(?P<separator>{_SEPARATOR})"
_FORMS = [
    re.compile(form, flags)
    for form, flags in (
        # A dot is in front of the members of records without a name.
        (rf"^(?P<stem>)(?P<separator>\.?){_MEMBER}(?P<token>{_TOKENS})_?$", re.IGNORECASE),
        (_VECTOR + r"(?:fCoordinates\.|fP\.)(?P<member>f)(?P<token>[XYZT]|Pt|Eta|Phi|M|E)$", 0),
        (rf"^{_STEM}(?P<separator>[.:/]+)(?P<member>m_)(?P<token>{_TOKENS})_?$", re.IGNORECASE),
        (rf"^{_STEM}{_APART}{_MEMBER}(?P<token>{_TOKENS})_?$", re.IGNORECASE),
        (rf"^(?P<stem>.*[a-z0-9])(?P<token>{_CAMEL})$", 0),
        (rf"^{_SHORTEST}{_APART}{_MEMBER}(?P<token>{_TOKENS}){_VARIATION}$", re.IGNORECASE),
        (rf"^(?P<stem>.*?[a-z0-9])(?P<token>{_CAMEL}){_VARIATION}$", 0),
        (rf"^(?P<before>)(?P<token>{_TOKENS}){_APART}(?P<stem>.+)$", re.IGNORECASE),
        (r"^(?P<before>)(?P<token>(?i:pt|eta|phi|mass|energy|px|py|pz)|m|e|[ME](?=Jet))(?P<stem>[A-Z].*)$", 0),
        (rf"^(?P<stem>{_GLUED})(?P<token>{_TOKENS}){_VARIATION}?$", re.IGNORECASE),
        (rf"^(?P<before>)(?P<token>{_TOKENS})(?P<stem>(?:jet|jt|j)\d+)$", re.IGNORECASE),
        (rf"^(?P<before>.*[^A-Za-z0-9])(?P<token>{_TOKENS})(?P<stem>jets?(?:[^A-Za-z].*)?)$", re.IGNORECASE),
    )
]

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_ALGORITHMS = {"kt", "akt", "antikt", "ak", "ca"}  # jets, where a number follows: AK4CHS, akt4
_ALONE = {"j", "jt", "fj"}  # jets, as words of their own
# Members that hold a four-momentum: what is in front of them tells whose.
_HOLDER = re.compile(
    "p|fp|[pv]4|p4polar|p4cart|t?lv|vec|vector|f?mom|f?momentum|four(momentum|vector)|kinematics|fcoordinates"
    "|obj|data|core|m?state"
)
_SCALES = {"momentum", "scale"}  # the same jets at another scale: JetConstitScaleMomentum
# Behind jets: parts of jets, what is close to them, and numbers about their variables.
_OTHER = re.compile(
    "(track|trk|vertex|vtx|sv|const|constit|constituent|cand|candidate|part|particle|pfc|pfcand|pfo|tower|cluster|clus"
    "|cell|hit|.*area|muon|mu|electron|ele|el|lepton|lep|photon|pho|gamma|tau|met|mht|ht|neutrino|nu|hadron|parton|quark"
    "|axis|thrust|recoil|pair|sum|total|system|err|error|unc|uncert|uncertainty|sigma|cov|covariance|res|resol"
    "|resolution|pull|diff|delta|ratio|rms|std|bias|response)s?|.*area4vec"
)
_HADRONS = re.compile(  # trees of candidates, as B0, D0, Jpsi, B02DPi
    r"([bdk](0|\+|-|plus|minus|star)|k(short|long)|pi(0|plus|minus|on)|lambda|jpsi|upsilon|kaon|proton)"
    r"(0|[bc]|\+|-|plus|minus|star|bar)*((2|to|_).*)?"
)
# In front of up and down, the words above name what was varied: jesTotalUp, JET_Flavor_Response__1up. Not these.
_UNCERTAIN = re.compile("(err|error|unc|uncert|uncertainty|sigma|cov|covariance)s?")
_SHIFTS = {"up", "down", "dn"}
_SYSTEM = re.compile("(di|tri|multi|non)jets?")
NOMINAL = {"", "nosys", "nom", "nominal", "central"}


@dataclass(frozen=True)
class Spelled:
    """A name taken apart: `Jet_pt_nom` spells `pt` of `Jet` in the variation `nom`.

    Names of one collection have the same `style`, which is everything but the variable and the variation.
    """

    variable: str
    stem: str
    style: tuple[str, ...]
    variation: str = ""

    @property
    def prefix(self) -> str:
        """What names of other variables of these objects begin with."""
        _, separator, member, before = self.style
        if not self.stem:
            return member
        separator = separator or "_" * bool(before)
        return f"{self.stem}{separator}" + (f"{self.variation}{separator or '_'}" if self.variation else "")


def spelled(name: str) -> Spelled | None:
    """The variable that a name spells, and the objects it is of; None where it spells none.

    Blanks around it are those behind the commas of a CSV file.
    """
    for form in _FORMS:
        if match := form.match(name.strip()):
            found = match.groupdict("")
            before = "before" if "before" in found else ""
            stem = found.get("before", "") + found["stem"]
            style = (stem, found.get("separator", ""), found.get("member", ""), before)
            variation = found.get("variation", "").strip("._:/ ")
            if _tells_of_others(variation) and not _is_systematic(_words(variation)):
                return None
            return Spelled(VARIABLE[found["token"].lower()], stem, style, variation)
    return None


def loosely_spelled(name: str) -> Iterator[tuple[str, str]]:
    """Each variable that a name begins or ends with, and the rest of it: `Ptj` may be `pt` of `_j`.

    Too many names are so by chance to take them as jets; they are good for a message.
    """
    lower = name.lower()
    for token, variable in VARIABLE.items():
        if lower.startswith(token) and lower != token:
            yield variable, "_" + name[len(token) :]
        if lower.endswith(token) and lower != token:
            yield variable, name[: -len(token)] + "_"


def tells_of_same(name: str, jets: str) -> bool:
    """Whether a branch is named after the objects of which another one spells a variable: jet_btag beside jet_pt."""
    if (found := spelled(jets)) is None:
        return False
    stem, separator, member, before = found.style
    if not stem:
        other = spelled(name)
        return name.startswith(member) and not (other and other.stem)
    if before and name.endswith(f"{separator}{stem}"):
        return True
    rest = name.removeprefix(f"{stem}{separator}")
    return rest != name and not (stem[-1].isdigit() and rest[:1].isdigit())


def is_nominal(variation: str) -> bool:
    """Whether a variation is none: jets without systematics."""
    return variation.lower() in NOMINAL


def names_jets(stem: str) -> bool:
    """Whether objects of this name are jets, and neither parts of jets nor pairs of them.

    Only the last part counts: `XJets.ActiveArea4vec` is an area, `XJets.JetConstitScaleMomentum` is a jet.
    """
    parts = [part for part in re.split(r"[.:/]", stem) if part]
    while len(parts) > 1 and _HOLDER.fullmatch(parts[-1].lower().replace("_", "")):
        parts.pop()
    words = _words(parts[-1]) if parts else []
    place = max((i for i in range(len(words)) if _is_jet(words, i)), default=None)
    if place is None:
        return False
    behind = words[place + 1 :]
    return words[-1] in _SCALES or _is_systematic(behind) or not any(map(_OTHER.fullmatch, behind))


def names_others(tree: str) -> bool:
    """Whether a tree is named after objects that are no jets, so that a `pt` in it is none of a jet."""
    name = tree.rpartition("/")[2]
    return not names_jets(tree) and (_tells_of_others(name) or _HADRONS.fullmatch(name.lower()) is not None)


def _is_jet(words: list[str], place: int) -> bool:
    word, after = words[place], words[place + 1 : place + 2]
    if words[:place][-1:] == ["non"]:
        return False
    if word in _ALONE:
        return not after or after[0].isdigit()
    if word in _ALGORITHMS:
        radius = words[place + 2 : place + 3] if after == ["r"] else after  # AntiKtR060
        return radius != [] and radius[0].isdigit()
    _, jet, end = word.rpartition("jet")
    return bool(jet) and not _SYSTEM.fullmatch(word) and not _OTHER.fullmatch(end.removeprefix("s"))


def _is_systematic(words: list[str]) -> bool:
    """Whether words are those of a variation up or down, and not of the uncertainty of a variable."""
    return words[-1:] != [] and words[-1] in _SHIFTS and not any(map(_UNCERTAIN.fullmatch, words))


def _tells_of_others(text: str) -> bool:
    return any(_OTHER.fullmatch(word) for word in _words(text))


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORDS.findall(text)]

#!/usr/bin/env python
"""Simulate LHC jets with Pythia 8 and FastJet and write them as an ATLAS-like ROOT tree.

    python scripts/generate_jets.py OUT.root [--events N] [--seed S] [--smear] [--processes dijet,ttbar,...]
                                    [--pt-min GEV] [--eta-max ETA] [--energy TEV]

Proton-proton collisions, by default at 13.6 TeV, with the Monash tune (Skands et al., arXiv:1404.5630), multiparton
interactions and hadronisation on. All stable particles (tau0 > 10 mm) except muons and neutrinos are clustered with
anti-kt, R = 0.4; jets with pt > 20 GeV and |eta| < 4.9, or what is asked for, are kept, in falling pt. Energies are in
MeV, branches are listed in `JET_TYPES` and `EVENT_TYPES`.

Processes are mixed event by event with the shares of `PROCESSES`, not by their cross-sections: the aim is jets over the
whole range of pt, eta and m. `mcEventWeight` undoes the pT-hat bias within one process (`processId`) and no more.

The sample in `data/` was made by

    python scripts/generate_jets.py data/jets.root --events 4200 --seed 7 --smear

The same seed, options and versions of Pythia, FastJet and numpy give the same jets.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

Floats = NDArray[np.float64]

TREE = "CollectionTree"
COLLECTION = "AntiKt4TruthJets"
RUN_NUMBER = 1
GEV = 1000.0  # MeV

RADIUS = 0.4
BEFORE_SMEARING = 0.4  # of the least pt: jets below it that fluctuate upwards must be there to do so

EVENTS_PER_CHUNK = 2000
EVENTS_PER_BATCH = 200  # of one process; a batch holds every particle of its events in memory

NEUTRINOS = (12, 14, 16)
INVISIBLE_TO_JETS = (*NEUTRINOS, 13)
ELECTROMAGNETIC = (11, 22)
CHARGE_KAPPA = 0.5
FLAVOURS = (5, 4, 15)  # a jet with several is given the first
FLAVOUR_PT_MIN = 5.0  # GeV
FLAVOUR_DELTA_R = 0.3

JET_TYPES = {
    "pt": "float32",
    "eta": "float32",
    "phi": "float32",
    "m": "float32",
    "NumConstituents": "int32",
    "N90Constituents": "int32",
    "Width": "float32",
    "PtD": "float32",
    "LeadingFraction": "float32",
    "ChargedFraction": "float32",
    "EMFraction": "float32",
    "Charge": "float32",
    "HadronFlavour": "int32",
}
EVENT_TYPES = {
    "runNumber": "uint32",
    "eventNumber": "uint64",
    "processId": "int32",
    "mcEventWeight": "float32",
    "pTHat": "float32",
    "MET": "float32",
    "METphi": "float32",
}

# names of independent random streams; the numbers of the processes name theirs
MIXING, SMEARING = 0, 1000

COMMON_SETTINGS = (
    "Print:quiet = on",
    "ParticleDecays:limitTau0 = on",
    "ParticleDecays:tau0Max = 10.",
    "Random:setSeed = on",
)


@dataclass(frozen=True)
class Process:
    """A hard process: its number in `processId`, its share of the events and its Pythia settings."""

    number: int
    share: float
    settings: tuple[str, ...]


def biased(pt_hat_min: float, power: float) -> tuple[str, ...]:
    """Settings that draw events with the weight pT-hat^power: falling spectra become flat."""
    return (
        f"PhaseSpace:pTHatMin = {pt_hat_min}",
        "PhaseSpace:bias2Selection = on",
        f"PhaseSpace:bias2SelectionPow = {power}",
    )


def quarks_only(boson: int) -> tuple[str, ...]:
    """Settings that let a boson, given by its PDG number, decay to quarks alone."""
    return f"{boson}:onMode = off", f"{boson}:onIfAny = 1 2 3 4 5"


PROCESSES = {
    "dijet": Process(1, 0.40, ("HardQCD:all = on", *biased(15, 4.5))),
    "highpt": Process(2, 0.15, ("HardQCD:all = on", *biased(800, 9))),
    "ttbar": Process(3, 0.12, ("Top:gg2ttbar = on", "Top:qqbar2ttbar = on", *biased(10, 3))),
    "wjets": Process(4, 0.08, ("WeakBosonAndParton:qqbar2Wg = on", "WeakBosonAndParton:qg2Wq = on", *biased(20, 4.5))),
    "zjets": Process(
        5,
        0.07,
        ("WeakBosonAndParton:qqbar2gmZg = on", "WeakBosonAndParton:qg2gmZq = on", "23:mMin = 40", *biased(20, 4.5)),
    ),
    # boosted W and Z that decay to quarks: one jet each, of mass 80-91 GeV
    "diboson": Process(6, 0.08, ("WeakDoubleBoson:all = on", *quarks_only(23), *quarks_only(24), *biased(200, 4.5))),
    # photons make jets of few constituents and next to no mass
    "photonjet": Process(7, 0.05, ("PromptPhoton:qg2qgamma = on", "PromptPhoton:qqbar2ggamma = on", *biased(20, 4.5))),
    # mostly events without any jet
    "minbias": Process(8, 0.05, ("SoftQCD:nonDiffractive = on",)),
}


@dataclass(frozen=True)
class Acceptance:
    """Jets that are kept: those above a pt (GeV) and within |eta|."""

    pt_min: float = 20.0
    eta_max: float = 4.9

    @property
    def particle_eta_max(self) -> float:
        """The |eta| within which particles are clustered: jets that are kept must be whole."""
        return self.eta_max + 2 * RADIUS

    def selected(self, jets: Any) -> Any:
        """The jets that are kept, in falling pt."""
        jets = jets[(jets.pt > self.pt_min) & (abs(jets.eta) < self.eta_max)]
        return jets[ak.argsort(jets.pt, ascending=False)]


@dataclass(frozen=True)
class Sample:
    """What is generated: events of processes at an energy (TeV), with a seed, and the jets that are kept."""

    processes: list[str]
    events: int
    seed: int
    energy: float
    accepted: Acceptance


class Refusal(Exception):
    """What the user can mend; the message is one line."""


def require(module: str, package: str) -> Any:
    """Import an optional library, or say what to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise Refusal(f"{package} is missing ({error}): install atlasae[generate]") from error


# ------------------------------------------------------------------------------------------------ generation


class Generator:
    """A Pythia instance for one process, with a random stream of its own that depends on seed and process only."""

    def __init__(self, process: Process, seed: int, energy: float) -> None:
        self.number = process.number
        self.pythia = require("pythia8mc", "pythia8").Pythia("", False)
        stream = np.random.SeedSequence([seed, process.number]).generate_state(1)[0]
        pythia_seed = 1 + int(stream) % 900_000_000  # the range Pythia takes
        beams = f"Beams:eCM = {1000 * energy:.0f}."
        for setting in (*COMMON_SETTINGS, beams, *process.settings, f"Random:seed = {pythia_seed}"):
            if not self.pythia.readString(setting):
                raise Refusal(f"this version of pythia8 does not know the setting {setting!r}")
        if not self.pythia.init():
            raise Refusal(f"pythia8 could not start process number {process.number}: {' '.join(process.settings)}")

    def batches(self, events: int) -> Iterator[Any]:
        """Events as Pythia's own awkward records, in pieces that fit into memory."""
        while events > 0:
            batch = self.pythia.nextBatch(min(events, EVENTS_PER_BATCH))  # failed events are left out
            if len(batch) == 0:
                raise Refusal(f"pythia8 generates no event of process number {self.number}")
            events -= len(batch)
            yield batch

    def charges(self, ids: NDArray[np.int32]) -> Floats:
        """Electric charge of each PDG number."""
        unique, inverse = np.unique(ids, return_inverse=True)
        return np.array([self.pythia.particleData.charge(int(i)) for i in unique], dtype=np.float64)[inverse]


# ---------------------------------------------------------------------------------------------------- particles


def per_event(flat: Any, like: Any) -> Any:
    """Give a flat array the event structure of another one."""
    return ak.unflatten(flat, ak.num(like))


def flat(array: Any) -> NDArray[Any]:
    """All entries of all events in one numpy array."""
    return np.asarray(ak.to_numpy(ak.flatten(array, axis=1)))


def is_any(ids: Any, wanted: tuple[int, ...]) -> Any:
    """Whether each absolute PDG number is one of those wanted."""
    return per_event(np.isin(flat(ids), wanted), ids)


def particles_of(batch: Any, generator: Generator) -> Any:
    """Every particle of a batch, also decayed ones: px, py, pz, E, pt (GeV), eta, phi, id (absolute), charge, final."""
    momentum, ids = batch.prt.p, batch.prt.id
    pt = np.hypot(momentum.px, momentum.py)
    return ak.zip(
        {
            "px": momentum.px,
            "py": momentum.py,
            "pz": momentum.pz,
            "E": momentum.e,
            "pt": pt,
            "eta": np.arcsinh(momentum.pz / np.maximum(pt, 1e-9)),  # the beams have pt = 0
            "phi": np.arctan2(momentum.py, momentum.px),
            "id": abs(ids),
            "charge": per_event(generator.charges(flat(ids)), ids),
            "final": batch.prt.status > 0,
        }
    )


def heavy_particles(particles: Any, flavour: int) -> Any:
    """Hadrons whose heaviest quark is the flavour given, or taus for 15, with pt > FLAVOUR_PT_MIN, per event.

    Digits as in the PDG's Monte Carlo numbering scheme: the heaviest quark of a baryon is in the thousands, that of a
    meson in the hundreds; diquarks have a zero in the tens.
    """
    ids = particles.id
    if flavour == 15:
        is_wanted = ids == flavour
    else:
        heaviest = np.maximum(ids // 1000 % 10, ids // 100 % 10)
        is_wanted = (heaviest == flavour) & (ids < 1_000_000) & (ids // 10 % 10 > 0)
    return particles[is_wanted & (particles.pt > FLAVOUR_PT_MIN)]


# --------------------------------------------------------------------------------------------------------- jets


def wrapped(phi: Any) -> Any:
    """An angle brought into [-pi, pi)."""
    return (phi + np.pi) % (2 * np.pi) - np.pi


@dataclass(frozen=True)
class Constituents:
    """The constituents of many jets, flat and jet by jet, with the number of constituents of every jet."""

    particles: Any
    counts: NDArray[np.int64]

    @property
    def starts(self) -> NDArray[np.int64]:
        """Index of the first constituent of every jet."""
        return np.cumsum(self.counts) - self.counts

    def values(self, name: str) -> Floats:
        """A variable of the constituents."""
        return np.asarray(ak.to_numpy(self.particles[name]), dtype=np.float64)

    def sum(self, values: NDArray[Any]) -> Floats:
        """Sum over the constituents of every jet; of booleans, their number."""
        return np.add.reduceat(values.astype(np.float64), self.starts)

    def spread(self, per_jet: NDArray[Any]) -> NDArray[Any]:
        """Repeat the value of a jet for each of its constituents."""
        return np.repeat(per_jet, self.counts)


def cluster(particles: Any, accepted: Acceptance, pt_min: float) -> tuple[Constituents, NDArray[np.int64]]:
    """Anti-kt jets with pt > pt_min (GeV): their constituents, and the number of jets in every event.

    M. Cacciari, G. P. Salam, G. Soyez, arXiv:0802.1189 (anti-kt) and arXiv:1111.6097 (FastJet).
    """
    fastjet = require("fastjet", "fastjet")
    visible = (
        particles.final & ~is_any(particles.id, INVISIBLE_TO_JETS) & (abs(particles.eta) < accepted.particle_eta_max)
    )
    inputs = ak.to_packed(particles[visible])
    momenta = ak.zip({name: inputs[name] for name in ("px", "py", "pz", "E")}, with_name="Momentum4D")
    definition = fastjet.JetDefinition(fastjet.antikt_algorithm, RADIUS)
    index = fastjet.ClusterSequence(momenta, definition).constituent_index(min_pt=pt_min)
    members = ak.flatten(inputs[ak.flatten(index, axis=2)])
    return Constituents(members, flat(ak.num(index, axis=2))), np.asarray(ak.num(index))


def four_vectors(constituents: Constituents) -> dict[str, Floats]:
    """pt, eta, phi and signed m (GeV) of the sum of the constituents; for one photon m is rounding, of either sign."""
    px, py, pz, energy = (constituents.sum(constituents.values(name)) for name in ("px", "py", "pz", "E"))
    pt = np.hypot(px, py)
    m2 = (energy + pz) * (energy - pz) - pt**2
    m = np.sign(m2) * np.sqrt(abs(m2))
    return {"pt": pt, "eta": np.arcsinh(pz / pt), "phi": np.arctan2(py, px), "m": m}


def n90(constituents: Constituents, pt: Floats, total: Floats) -> Floats:
    """Smallest number of constituents that carry 90 % of the scalar sum of pt."""
    jet = constituents.spread(np.arange(len(constituents.counts)))
    falling = pt[np.lexsort((-pt, jet))]
    running = np.cumsum(falling)
    before_jet = (running - falling)[constituents.starts]
    harder = running - falling - constituents.spread(before_jet)
    return constituents.sum(harder < 0.9 * constituents.spread(total))


def substructure(constituents: Constituents, axes: dict[str, Floats]) -> dict[str, Floats]:
    """What else the constituents tell about the jets; every fraction is one of the scalar sum of pt.

    Width: mean distance in (eta, phi) from the axis, weighted with pt. PtD: sqrt(sum pt^2) / sum pt. Charge:
    sum q pt^kappa / (pt of the jet)^kappa with kappa = 0.5 (ATLAS, arXiv:1509.05190).
    """
    pt, charge, ids = (constituents.values(name) for name in ("pt", "charge", "id"))
    total = constituents.sum(pt)
    distance = np.hypot(
        constituents.values("eta") - constituents.spread(axes["eta"]),
        wrapped(constituents.values("phi") - constituents.spread(axes["phi"])),
    )
    return {
        "NumConstituents": constituents.counts.astype(np.float64),
        "N90Constituents": n90(constituents, pt, total),
        "Width": constituents.sum(pt * distance) / total,
        "PtD": np.sqrt(constituents.sum(pt**2)) / total,
        "LeadingFraction": np.maximum.reduceat(pt, constituents.starts) / total,
        "ChargedFraction": constituents.sum(pt * (charge != 0)) / total,
        "EMFraction": constituents.sum(pt * np.isin(ids, ELECTROMAGNETIC)) / total,
        "Charge": constituents.sum(charge * pt**CHARGE_KAPPA) / axes["pt"] ** CHARGE_KAPPA,
    }


def hadron_flavour(jets: Any, particles: Any) -> Any:
    """5, 4 or 15 for a b hadron, c hadron or tau within FLAVOUR_DELTA_R of the jet, in this order, else 0."""
    flavour = ak.zeros_like(jets.pt)
    for number in reversed(FLAVOURS):
        jet, heavy = ak.unzip(ak.cartesian([jets, heavy_particles(particles, number)], nested=True))
        near = np.hypot(jet.eta - heavy.eta, wrapped(jet.phi - heavy.phi)) < FLAVOUR_DELTA_R
        flavour = ak.where(ak.any(near, axis=-1), number, flavour)
    return flavour


def jets_of(particles: Any, accepted: Acceptance, pt_min: float) -> Any:
    """Jets of every event with all variables of JET_TYPES (GeV)."""
    constituents, counts = cluster(particles, accepted, pt_min)
    axes = four_vectors(constituents)
    columns = axes | substructure(constituents, axes)
    jets = ak.zip({name: ak.unflatten(values, counts) for name, values in columns.items()})
    return ak.with_field(jets, hadron_flavour(jets, particles), "HadronFlavour")


# ------------------------------------------------------------------------------------------------------ detector


@dataclass(frozen=True)
class Detector:
    """A simple stand-in for a detector: independent fluctuations of pt, eta, phi and m of every jet.

    sigma(pt) / pt = N / pt (+) S / sqrt(pt) (+) C, with pt in GeV and (+) for a sum in quadrature. The form, and the
    24 % at 20 GeV and 6 % at 300 GeV that N, S and C were chosen for, are those of ATLAS, Eur. Phys. J. C 81 (2021)
    689, arXiv:2007.02645. The rest is of the right order and no more: sigma(eta) = sigma(phi) = 0.6 / pt (+) 0.005,
    at 20 GeV the 0.1 / sqrt(12) of a calorimeter tower; a mass response with mean 1.02 and a log-normal spread of
    0.6 / sqrt(pt) (+) 0.1; 8 GeV on either component of MET for what is in no jet. All else stays as generated.
    """

    noise: float = 3.2
    stochastic: float = 0.8
    constant: float = 0.035
    angle_noise: float = 0.6
    angle_constant: float = 0.005
    mass_scale: float = 1.02
    mass_stochastic: float = 0.6
    mass_constant: float = 0.1
    soft_term: float = 8.0

    def response(self, pt: Floats, random: np.random.Generator) -> Floats:
        """Measured over true pt."""
        sigma = np.sqrt((self.noise / pt) ** 2 + self.stochastic**2 / pt + self.constant**2)
        return np.maximum(0, 1 + sigma * random.standard_normal(len(pt)))

    def mass_response(self, pt: Floats, random: np.random.Generator) -> Floats:
        """Measured over true m / pt."""
        sigma = np.sqrt(self.mass_stochastic**2 / pt + self.mass_constant**2)
        return self.mass_scale * np.exp(sigma * random.standard_normal(len(pt)) - sigma**2 / 2)

    def measured(self, jets: Any, random: np.random.Generator) -> Any:
        """The jets as the detector sees them; a massless jet stays one."""
        pt, eta, phi, m = (flat(jets[name]) for name in ("pt", "eta", "phi", "m"))
        response = self.response(pt, random)
        angle = np.hypot(self.angle_noise / pt, self.angle_constant)
        smeared = {
            "pt": pt * response,
            "eta": eta + angle * random.standard_normal(len(pt)),
            "phi": wrapped(phi + angle * random.standard_normal(len(pt))),
            "m": m * response * self.mass_response(pt, random),
        }
        columns = {name: jets[name] for name in ak.fields(jets)}
        return ak.zip(columns | {name: per_event(values, jets) for name, values in smeared.items()})

    def soft(self, events: int, random: np.random.Generator) -> Floats:
        """Fluctuation of one component of MET (GeV) from what is in no jet."""
        return self.soft_term * random.standard_normal(events)


# -------------------------------------------------------------------------------------------------------- events


def neutrino_momentum(particles: Any) -> tuple[Any, Any]:
    """Sum of px and of py (GeV) of the neutrinos of every event: the true MET."""
    neutrinos = particles[particles.final & is_any(particles.id, NEUTRINOS)]
    return ak.sum(neutrinos.px, axis=1), ak.sum(neutrinos.py, axis=1)


def transverse_momentum(jets: Any) -> tuple[Any, Any]:
    """Sum of px and of py (GeV) of the jets of every event."""
    return ak.sum(jets.pt * np.cos(jets.phi), axis=1), ak.sum(jets.pt * np.sin(jets.phi), axis=1)


def simulated(
    batch: Any, generator: Generator, detector: Detector | None, accepted: Acceptance, random: np.random.Generator
) -> Any:
    """Events of one batch: fields `jets`, `processId`, `mcEventWeight`, `pTHat`, `met_x`, `met_y` (GeV)."""
    particles = particles_of(batch, generator)
    met_x, met_y = neutrino_momentum(particles)
    if detector is None:
        jets = jets_of(particles, accepted, accepted.pt_min)
    else:
        true_jets = jets_of(particles, accepted, BEFORE_SMEARING * accepted.pt_min)
        jets = detector.measured(true_jets, random)
        (true_x, true_y), (jet_x, jet_y) = transverse_momentum(true_jets), transverse_momentum(jets)
        met_x = met_x + true_x - jet_x + detector.soft(len(batch), random)
        met_y = met_y + true_y - jet_y + detector.soft(len(batch), random)
    columns = {
        "jets": accepted.selected(jets),
        "processId": np.full(len(batch), generator.number),
        "mcEventWeight": batch.info.weights[:, 0],
        "pTHat": np.sqrt(batch.info.pT2Hat),
        "met_x": met_x,
        "met_y": met_y,
    }
    return ak.zip(columns, depth_limit=1)


def chunks(sample: Sample, detector: Detector | None) -> Iterator[Any]:
    """Events of all processes, mixed, EVENTS_PER_CHUNK at a time."""
    generators = [Generator(PROCESSES[name], sample.seed, sample.energy) for name in sample.processes]
    shares = np.array([PROCESSES[name].share for name in sample.processes])
    mixing, smearing = (np.random.default_rng([sample.seed, stream]) for stream in (MIXING, SMEARING))
    for first in range(0, sample.events, EVENTS_PER_CHUNK):
        size = min(EVENTS_PER_CHUNK, sample.events - first)
        wanted = mixing.multinomial(size, shares / shares.sum())
        parts = [
            simulated(batch, generator, detector, sample.accepted, smearing)
            for generator, number in zip(generators, wanted, strict=True)
            for batch in generator.batches(int(number))
        ]
        yield ak.concatenate(parts)[mixing.permutation(size)]


# ------------------------------------------------------------------------------------------------------- writing


def branches_of(chunk: Any, first_event: int) -> dict[str, Any]:
    """A chunk as the branches of the tree, in MeV and in the types of JET_TYPES and EVENT_TYPES."""
    met_x, met_y = (ak.to_numpy(chunk[name]) for name in ("met_x", "met_y"))
    columns = {
        "runNumber": np.full(len(chunk), RUN_NUMBER),
        "eventNumber": first_event + np.arange(len(chunk)),
        "processId": chunk.processId,
        "mcEventWeight": chunk.mcEventWeight,
        "pTHat": chunk.pTHat * GEV,
        "MET": np.hypot(met_x, met_y) * GEV,
        "METphi": np.arctan2(met_y, met_x),
    }
    events = {name: ak.values_astype(columns[name], dtype) for name, dtype in EVENT_TYPES.items()}
    jets = {name: chunk.jets[name] * (GEV if name in ("pt", "m") else 1) for name in JET_TYPES}
    return {COLLECTION: ak.zip({n: ak.values_astype(jets[n], t) for n, t in JET_TYPES.items()})} | events


def write(path: Path, written: Iterator[Any]) -> Iterator[int]:
    """Write chunks to a TTree whose jet branches share one counter; yields the number of events of each chunk."""
    jet_type = "var * {" + ", ".join(f"{name}: {dtype}" for name, dtype in JET_TYPES.items()) + "}"
    with uproot.recreate(path, compression=uproot.ZSTD(9)) as file:
        tree = file.mktree(
            TREE,
            {COLLECTION: jet_type} | EVENT_TYPES,
            counter_name=lambda counted: f"n{counted}",
            field_name=lambda outer, inner: f"{outer}AuxDyn.{inner}",
        )
        first_event = 0
        for chunk in written:
            tree.extend(branches_of(chunk, first_event))
            first_event += len(chunk)
            yield len(chunk)


def generate(path: Path, sample: Sample, detector: Detector | None) -> None:
    """Write a file of simulated jets; it appears under its name only when it is complete."""
    partial = path.with_name(path.name + ".part")
    console = Console(stderr=True)
    try:
        with Progress(console=console, disable=not console.is_terminal) as progress:
            task = progress.add_task("generating", total=sample.events)
            for done in write(partial, chunks(sample, detector)):
                progress.advance(task, done)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


# ------------------------------------------------------------------------------------------------------- command


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, metavar="OUT.root", help="file to write; replaced if it is there")
    parser.add_argument("--events", type=int, default=10_000, help="number of events (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="0 or more; the same seed gives the same jets (default 1)")
    parser.add_argument("--smear", action="store_true", help="smear the jets as a detector would")
    parser.add_argument("--pt-min", type=float, default=20.0, help="least pt of jets, GeV (default %(default)g)")
    parser.add_argument("--eta-max", type=float, default=4.9, help="largest |eta| of jets (default %(default)g)")
    parser.add_argument("--energy", type=float, default=13.6, help="of a collision, TeV (default %(default)g)")
    parser.add_argument("--processes", default=",".join(PROCESSES), help="default: %(default)s")
    return parser.parse_args(arguments)


def checked_processes(text: str) -> list[str]:
    """Names of processes from a list with commas."""
    names = list(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in PROCESSES:
            raise Refusal(f"there is no process {name!r}: choose from {', '.join(PROCESSES)}")
    return names


def run(options: argparse.Namespace) -> None:
    """Check the options and generate."""
    if options.events < 1:
        raise Refusal(f"--events is {options.events}: give 1 or more")
    if options.seed < 0:
        raise Refusal(f"--seed is {options.seed}: give 0 or more")
    for name in ("pt_min", "eta_max", "energy"):
        if not 0 < (value := getattr(options, name)) < 1000:
            raise Refusal(f"--{name.replace('_', '-')} is {value:g}: give a positive number below 1000")
    if not options.out.parent.is_dir():
        raise Refusal(f"there is no folder {str(options.out.parent)!r} for {options.out.name!r}: create it first")
    detector = Detector() if options.smear else None
    accepted = Acceptance(options.pt_min, options.eta_max)
    processes = checked_processes(options.processes)
    generate(options.out, Sample(processes, options.events, options.seed, options.energy, accepted), detector)


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0, or 2 with one line on stderr."""
    try:
        run(parsed(arguments))
    except Refusal as refusal:
        print(f"generate_jets: {refusal}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

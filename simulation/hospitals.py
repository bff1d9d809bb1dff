"""Three hospitals that differ the way hospitals do: patients, machines, habits."""

from dataclasses import replace

from simulation.phantom_sites import PhantomSite

CLINIC = PhantomSite(
    name="clinic",
    num_records=400,
    view_mix={"PA": 0.9, "AP": 0.1},
    prevalence={
        "cardiomegaly": 0.10,
        "lung_lesion": 0.12,
        "pneumonia": 0.15,
        "fracture": 0.08,
        "pneumothorax": 0.06,
        "lung_opacity": 0.10,
        "pleural_other": 0.05,
        "atelectasis": 0.06,
    },
    female_share=0.55,
    age_mean=38.0,
    age_sd=12.0,
    manufacturer="SIEMENS",
    bits=12,
    photometric="MONOCHROME2",
    style="plain",
    num_broken=6,
    modality="DX",
    seed=1,
)
"""Outpatients: digital, upright, young, mostly healthy."""

INTENSIVE_CARE = PhantomSite(
    name="intensive-care",
    num_records=400,
    view_mix={"PA": 0.1, "AP": 0.9},
    prevalence={
        "support_devices": 0.60,
        "pleural_effusion": 0.40,
        "edema": 0.25,
        "atelectasis": 0.25,
        "cardiomegaly": 0.30,
        "consolidation": 0.15,
        "enlarged_cardiomediastinum": 0.12,
        "pneumothorax": 0.08,
    },
    female_share=0.42,
    age_mean=68.0,
    age_sd=11.0,
    manufacturer="FUJIFILM Corporation",
    bits=10,
    photometric="MONOCHROME1",
    style="portable",
    num_broken=6,
    modality="CR",
    seed=2,
    values_of_interest="sigmoid",
)
"""Bedside pictures of the old and very ill, on phosphor plates and stored inverted."""

UNIVERSITY = PhantomSite(
    name="university",
    num_records=400,
    view_mix={"PA": 0.6, "AP": 0.4},
    prevalence={
        "atelectasis": 0.12,
        "cardiomegaly": 0.15,
        "consolidation": 0.10,
        "edema": 0.10,
        "enlarged_cardiomediastinum": 0.08,
        "fracture": 0.08,
        "lung_lesion": 0.15,
        "lung_opacity": 0.15,
        "pleural_effusion": 0.15,
        "pleural_other": 0.10,
        "pneumonia": 0.10,
        "pneumothorax": 0.08,
        "support_devices": 0.20,
    },
    female_share=0.50,
    age_mean=55.0,
    age_sd=17.0,
    manufacturer="Philips Medical Systems",
    bits=14,
    photometric="MONOCHROME2",
    style="crisp",
    num_broken=6,
    modality="DX",
    seed=3,
    values_of_interest="table",
)
"""A bit of everything, on a new machine that sharpens edges."""

HOSPITALS = (CLINIC, INTENSIVE_CARE, UNIVERSITY)


def example_sites(count: int, *, num_records: int, seed: int) -> list[PhantomSite]:
    """``hospital-a``, ``hospital-b``, ...: the three kinds of hospital in turn, with other patients each."""
    return [
        replace(
            HOSPITALS[number % len(HOSPITALS)],
            name=f"hospital-{chr(ord('a') + number)}",
            num_records=num_records,
            seed=seed + number,
        )
        for number in range(count)
    ]

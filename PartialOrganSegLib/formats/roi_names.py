"""What radiotherapy calls the organs: the names of AAPM TG-263, and those of RTOG's atlases where they differ.

TG-263: C. S. Mayo et al., Standardizing Nomenclatures in Radiation Oncology, AAPM report 263, 2018. RTOG: H. A. Gay et
al., Pelvic normal tissue contouring guidelines, Int J Radiat Oncol Biol Phys 83(3), 2012; S. K. Jabbour et al., Upper
abdominal normal organ contouring guidelines, Pract Radiat Oncol 4(2), 2014.
"""

from __future__ import annotations

from ..organs import Organ

_TG263 = {
    "liver": "Liver", "spleen": "Spleen", "left_kidney": "Kidney_L", "right_kidney": "Kidney_R", "stomach": "Stomach",
    "gallbladder": "Gallbladder", "esophagus": "Esophagus", "pancreas": "Pancreas", "duodenum": "Duodenum",
    "colon": "Colon", "intestine": "Bowel_Small", "adrenal": "Glnd_Adrenal", "rectum": "Rectum", "bladder": "Bladder",
    "head_of_left_femur": "Femur_Head_L", "head_of_right_femur": "Femur_Head_R", "aorta": "A_Aorta",
    "inferior_vena_cava": "V_Venacava_I", "right_adrenal": "Glnd_Adrenal_R", "left_adrenal": "Glnd_Adrenal_L",
}
# RTOG's Femur_L and Femur_R are the proximal femur, which is more than its head: no name of RTOG's is ours.
_RTOG = {"liver": "Liver", "stomach": "Stomach", "esophagus": "Esophagus", "duodenum": "Duodenum", "colon": "Colon",
         "intestine": "SmallBowel", "rectum": "Rectum", "bladder": "Bladder"}


def tg263_name(organ: Organ) -> str:
    """TG-263's primary name, at most 16 characters; an organ it does not list keeps its own: `Portal_And_Splenic_Vein`.
    """
    return _TG263.get(organ.name) or "_".join(word.capitalize() for word in organ.name.split("_"))


def rtog_name(organ: Organ) -> str | None:
    """The name in RTOG's atlases, None where they have none for just this organ."""
    return _RTOG.get(organ.name)

"""What radiotherapy calls the organs: the names of AAPM TG-263, and those of RTOG's atlases where they differ.

TG-263: C. S. Mayo et al., Standardizing Nomenclatures in Radiation Oncology, AAPM report 263, 2018. RTOG: H. A. Gay et
al., Pelvic normal tissue contouring guidelines, Int J Radiat Oncol Biol Phys 83(3), 2012; S. K. Jabbour et al., Upper
abdominal normal organ contouring guidelines, Pract Radiat Oncol 4(2), 2014.
"""

from __future__ import annotations

from ..organ_records import organ_record
from ..organs import Organ


def tg263_name(organ: Organ) -> str:
    """TG-263's primary name, at most 16 characters; an organ it does not list keeps its own: `Portal_And_Splenic_Vein`.
    """
    record = organ_record(organ.name)
    if record is not None and record.names.tg263 is not None:
        return record.names.tg263
    # As TG-263 writes names: words with capitals, joined by underscores.
    return "_".join(word.capitalize() for word in organ.name.split("_"))


def rtog_name(organ: Organ) -> str | None:
    """The name in RTOG's atlases, None where they have none for just this organ."""
    record = organ_record(organ.name)
    return None if record is None else record.names.rtog

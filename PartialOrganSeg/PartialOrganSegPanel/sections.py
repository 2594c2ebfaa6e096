"""The sections of the panel, in the order of the work. A new one is one line here."""

from .finetune_section import FineTuneSection
from .models_section import ModelsSection
from .review_section import ReviewSection
from .scribble_section import ScribbleSection
from .segment_section import SegmentSection
from .setup_section import SetupSection

SECTIONS = (SetupSection, SegmentSection, ReviewSection, ScribbleSection, FineTuneSection, ModelsSection)

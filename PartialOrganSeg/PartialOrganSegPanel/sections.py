"""The sections of the panel, in the order of the work. A new one is one line here."""

from .finetune.section import FineTuneSection
from .models.section import ModelsSection
from .review.section import ReviewSection
from .scribble.section import ScribbleSection
from .segment.section import SegmentSection
from .shell.setup_section import SetupSection

SECTIONS = (SetupSection, SegmentSection, ReviewSection, ScribbleSection, FineTuneSection, ModelsSection)

"""Section Export: accepted organs as RT structure set, DICOM SEG or NIfTI, with one button."""

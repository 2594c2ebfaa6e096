"""What the module takes of Slicer's DICOMLib."""

"""Radiographs for conditions: prompts, pictures, DICOM files, whole data sets."""

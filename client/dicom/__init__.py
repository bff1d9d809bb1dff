"""One DICOM file -> one upright, normalised radiograph and a few fields, or a reason for not using it."""

"""Public sets of chest radiographs, dealt to simulated hospitals as DICOM files and labels."""

"""Where radiographs come from: folders, a PACS that is asked, a PACS that sends."""

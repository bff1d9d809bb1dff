"""The plans that arrived at a hospital: looked through, approved by a person, held against every instruction."""

"""Routes stable studies of an Orthanc to the inference node; plain Python, no part of it imports Orthanc."""

"""What several detectors share; not detectors themselves."""

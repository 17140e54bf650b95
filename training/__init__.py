"""From a folder of labelled images to a calibrated, documented bundle."""
